"""Several adapters on one backbone."""

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from radlearn.adapters import ADAPTERS, TunerConfig
from radlearn.adapters.several import Several
from radlearn.adapters.tuner import is_head
from radlearn.errors import InputError

TUNERS = {"chest": "lora", "skull": "lora-all", "toe": "full", "hand": "pissa", "rib": "bias"}
TUNERS |= {"knee": "ia3", "hip": "prompt"}
LABELS = {"chest": 3, "skull": 2, "toe": 2, "hand": 3, "rib": 3, "knee": 4, "hip": 3}


def plain(labels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    size = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, global_pool="avg", **size)
    model.reset_classifier(labels)
    return model.eval()


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[nn.Module, Path]]:
    found = {}
    for name, tuner in TUNERS.items():
        folder = tmp_path_factory.mktemp(name)
        config = TunerConfig(tuner, rank=2, dropout=0.0)
        model = ADAPTERS[tuner].attach(plain(LABELS[name]), config)
        with torch.no_grad():
            for value in model.parameters():
                if value.requires_grad:
                    value.add_(0.3 * torch.randn_like(value))
        labels = [f"{name} {at}" for at in range(LABELS[name])]
        ADAPTERS[tuner].save(model, folder, {"labels": labels})
        found[name] = model.eval(), folder
    return found


def folders(tuned: dict[str, tuple[nn.Module, Path]]) -> dict[str, Path]:
    return {name: folder for name, (_, folder) in tuned.items()}


def test_every_image_of_a_batch_has_an_adapter_of_its_own(
    tuned: dict[str, tuple[nn.Module, Path]],
) -> None:
    several = Several(plain(), folders(tuned))
    names = ["chest", "hand", "toe", "skull", "hip", "hand", "rib", "knee"]
    found = several.logits(images(8), names)
    for at, name in enumerate(names):
        with torch.no_grad():
            expected = tuned[name][0](images(8)[at : at + 1])[0]
        torch.testing.assert_close(found[at], expected, rtol=1e-5, atol=1e-5)
    assert several.labels("hand") == ("hand 0", "hand 1", "hand 2")


def test_adapters_are_switched_from_call_to_call(
    tuned: dict[str, tuple[nn.Module, Path]],
) -> None:
    several = Several(plain(), folders(tuned))
    for name in ("chest", "hip", "chest"):
        with torch.no_grad():
            expected = tuned[name][0](images(2))
        found = torch.stack(several.logits(images(2), name))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_weights_of_the_backbone_are_held_once(
    tuned: dict[str, tuple[nn.Module, Path]],
) -> None:
    base = plain()
    several = Several(base, folders(tuned))
    held = {p.data_ptr() for name, p in base.named_parameters() if not is_head(name)}
    for name in ("chest", "hip"):
        names = dict(several.models[name].named_parameters())
        mine = [p for key, p in names.items() if not p.requires_grad and not is_head(key)]
        assert mine and {p.data_ptr() for p in mine} <= held
    assert {p.data_ptr() for p in base.parameters()} >= held


@pytest.mark.parametrize(
    ("names", "said"), [(["chest"], "1 names.*2 images"), (["chest", "foot"], "'foot'.*chest")]
)
def test_names_have_to_fit(
    names: list[str], said: str, tuned: dict[str, tuple[nn.Module, Path]]
) -> None:
    several = Several(plain(), folders(tuned))
    with pytest.raises(InputError, match=said):
        several.logits(images(2), names)


def test_an_adapter_of_another_backbone_is_refused(
    tuned: dict[str, tuple[nn.Module, Path]],
) -> None:
    other = plain()
    with torch.no_grad():
        next(other.parameters()).add_(1)
    with pytest.raises(InputError, match="belongs to the backbone"):
        Several(other, folders(tuned))
