"""What a run starts from keeps its own preprocessing."""

from pathlib import Path

import pytest
import torch

from radlearn.finetuning import run
from radlearn.finetuning.config import FinetuneConfig
from radlearn.finetuning.tuned import keep_backbone
from radlearn.models.backbone import BackboneConfig, build_classifier
from radlearn.models.imported import Imported
from radlearn.records.transforms import Preprocessing


@pytest.mark.parametrize(("side", "resize"), [(None, 256), (448, 512), (112, 128)])
def test_the_middle_that_evaluation_sees_keeps_its_share(
    monkeypatch: pytest.MonkeyPatch, side: int | None, resize: int
) -> None:
    """As CXR-MAE was evaluated on the middle 224 of 256, at any size."""
    given = Imported(
        config=BackboneConfig("vit_tiny_patch16_224", {"img_size": 224}),
        preprocessing=Preprocessing(size=224, mean=0.48, std=0.28, resize=256),
        state={},
        kind="CXR-MAE",
        unmatched=(),
    )
    monkeypatch.setattr(run, "read_checkpoint", lambda *_: given)
    config = FinetuneConfig((Path("s"),), Path("r"), init=Path("weights.pth"), image_size=side)
    start = run._start(config)
    assert start.preprocessing.resize == resize
    assert start.preprocessing.size == (side or 224)


def test_a_backbone_that_is_kept_already_leaves_what_is_drawn_next_as_it_was(
    tmp_path: Path,
) -> None:
    """A run that was killed before its first step draws the same LoRA when it begins anew."""
    small = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
    config = BackboneConfig("vit_tiny_patch16_224", small)
    model = build_classifier(config, 2, 0.0)
    drawn = []
    for _ in range(2):
        torch.manual_seed(0)
        keep_backbone(tmp_path, model, config, Preprocessing(size=32, mean=0.5, std=0.2), None)
        drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1]
