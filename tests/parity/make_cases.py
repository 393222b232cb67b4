"""Write a folder of parity cases from radlearn itself: `python tests/parity/make_cases.py FOLDER`.

Other seeds, sizes and settings than the authors' cases have: rank 8, mask ratio 0.5 without patch
normalisation, three RegGAN steps at 32 px. Since the expected numbers are radlearn's own, that the
tests pass on them says that the tests take what they need from the cases and nothing more. It says
nothing about radlearn's faithfulness, which the authors' numbers alone can show.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from parity import test_lora as lora
from parity import test_mrm as mrm
from parity import test_reggan as reggan
from parity import test_schedule as schedule
from parity.rules import Case
from radlearn.generators.resnet import ResNetConfig, ResNetGenerator
from radlearn.models.critics import Critic, CriticConfig
from radlearn.models.mrm import MRM
from radlearn.models.published import DECODER_BIAS, export_mrm
from radlearn.models.registration import Registration, RegistrationConfig
from radlearn.translation.modes import MODES, Mode

MRM_CONFIG = {
    "low": 32,
    "high": 64,
    "channels": 3,
    "patch": 8,
    "encoder": {"width": 24, "layers": 1, "heads": 2, "mlp": 3},
    "image_decoder": {"width": 16, "layers": 2, "heads": 1},
    "report_decoder": {
        "width": 16,
        "layers": 1,
        "heads": 4,
        "mlp": 40,
        "words": 60,
        "positions": 12,
    },
    "mask_ratio": 0.5,
    "normalise_patches": False,
}
LORA_CONFIG = {
    "depth": 2,
    "dim": 24,
    "heads": 2,
    "img": 24,
    "patch": 8,
    "rank": 8,
    "lora_alpha": 16,
    "classes": 5,
}
SCHEDULE = {
    "epochs": 30,
    "warmup_epochs": 2.5,
    "lr": 0.003,
    "min_lr": 0.0,
    "at_epoch": [0, 1.25, 2.5, 2.75, 11, 29.5, 30],
}
MODES_MADE = ("NC+R", "NC", "C", "C+R", "P2P")
REGGAN = {"size": 32, "steps": 3, "precision": "float64"}


def write_cases(folder: Path) -> None:
    """Write every kind of case but the count of ViT-B's parameters to an empty or new folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_mrm(folder / "mrm_half.json", 105, stored=True, batch=3)
    write_mrm(folder / "mrm_drawn.json", 106, stored=False, batch=2)
    write_lora(folder / "lora_rank8.json", 121)
    write_reggan(folder / "reggan_small.json", 131)
    write_schedule(folder / "warmup_cosine_short.json")


def write_mrm(path: Path, seed: int, stored: bool, batch: int) -> None:
    rng = np.random.RandomState(seed)
    report, grid = MRM_CONFIG["report_decoder"], MRM_CONFIG["low"] // MRM_CONFIG["patch"]
    labels = rng.randint(5, report["words"], (batch, report["positions"]))
    labels[1, -4:] = 0
    masked = np.where(rng.rand(*labels.shape) < 0.5, 4, labels) * (labels > 0)
    arrays = {
        "noise": rng.rand(batch, grid**2).astype(np.float32),
        "labels": labels,
        "masked_ids": masked,
        "attention_mask": (labels > 0).astype(np.int64),
    }
    if stored:
        high = rng.standard_normal((batch, 3, MRM_CONFIG["high"], MRM_CONFIG["high"]))
        arrays["image_high"] = high.astype(np.float32)
        arrays["image_low"] = arrays["image_high"][:, :, 1::2, 1::2]
    exported = export_mrm(MRM(mrm.config_of(MRM_CONFIG)))
    facts = {"seed": seed, "config": MRM_CONFIG, "state_dict": shapes(exported)}
    write(path, facts, arrays)

    case = Case(path)
    found = mrm.computed(mrm.loaded(case), case)
    count = sum(tensor.numel() for name, tensor in exported.items() if name != DECODER_BIAS)
    facts["scalars"] = found.scalars | {"total_params": count}
    facts["grad_norms"] = norms(found.gradients)
    whole = {name: found.gradients[of] for name, of in mrm.WHOLE.items()} if stored else {}
    outputs = found.arrays if stored else {"mask": found.arrays["mask"]}
    write(path, facts, arrays | outputs | whole)


def write_lora(path: Path, seed: int) -> None:
    rng, side = np.random.RandomState(seed), LORA_CONFIG["img"]
    arrays = {
        "x": rng.standard_normal((3, 3, side, side)).astype(np.float32),
        "y": (rng.rand(3, LORA_CONFIG["classes"]) < 0.3).astype(np.float32),
    }
    facts = {
        "seed": seed,
        "config": LORA_CONFIG,
        "state_dict": shapes(lora.attached(LORA_CONFIG).state_dict()),
        "full_state_dict": shapes(lora.plain_vit(LORA_CONFIG).state_dict()),
    }
    write(path, facts, arrays)

    case = Case(path)
    logits, loss, grads = lora.backward(lora.tuned(case), case)
    full_logits, full_loss, full_grads = lora.backward(lora.plain(case), case)
    weight, merged = lora.merged(case)
    groups = lora.groups_of(lora.tuned(case), 0.01, 0.75)
    facts |= {
        "loss": loss,
        "sgd_losses": lora.sgd_losses(case, 4),
        "trainable": lora.trainable(lora.tuned(case)),
        "grad_norms": norms(grads),
        "lr_groups_layer_decay_075_wd_001": [
            {name: group[name] for name in ("lr_scale", "weight_decay", "params")}
            for group in groups
        ],
        "full_loss": full_loss,
        "full_grad_norms": norms(full_grads),
    }
    outputs = {"logits": logits, "logits_merged": merged, "full_logits": full_logits}
    whole = {name: grads[of] for name, of in lora.WHOLE.items()}
    write(path, facts, arrays | outputs | whole | {"merged_qkv0": weight})


def write_reggan(path: Path, seed: int) -> None:
    rng = np.random.RandomState(seed)
    real = rng.uniform(-1, 1, (32, 32)).astype(np.float32)
    real[:8] = -1
    arrays: dict[str, Any] = {
        "metric_real": real,
        "metric_fake": (real + 0.1 * rng.standard_normal(real.shape)).astype(np.float32),
    }
    facts: dict[str, Any] = {"seed": seed, **REGGAN}
    for name in MODES_MADE:
        mode = MODES[name.lower()]
        nets = {reggan.PUBLISHED[net]: small(net, mode) for net in sorted(mode.networks)}
        facts[name] = {
            "state_dict": {net: shapes(built.state_dict()) for net, built in nets.items()},
            "parameters": {
                net: sum(p.numel() for p in built.parameters()) for net, built in nets.items()
            },
        }
    write(path, facts, arrays)

    case = Case(path)
    facts["metrics_background_excluded"] = reggan.scores(case)
    for name in MODES_MADE:
        start, end = reggan.at_start(case, name, {}), reggan.trained(case, name)
        del start["logged"]
        for key, value in (start | end).items():
            if isinstance(value, Tensor) and value.ndim:
                arrays[f"{name}.{key}"] = value.float()
            else:
                facts[name][key] = float(value) if isinstance(value, Tensor) else value
    # the authors' loop logs nothing in two modes, and a single loss may be absent as well
    for name in ("NC", "C"):
        facts[name]["logged"] = [None] * REGGAN["steps"]
    facts["C+R"]["logged"][1]["SR_loss"] = None
    write(path, facts, arrays)


def write_schedule(path: Path) -> None:
    write(path, SCHEDULE)
    write(path, SCHEDULE | {"lr_at": schedule.rates(Case(path))})


def small(name: str, mode: Mode) -> nn.Module:
    """A network of RegGAN at widths that take no time."""
    if name == "R":
        return Registration(RegistrationConfig(widths=(4, 6, 8), middle=10, blocks=2))
    if name.startswith("G"):
        return ResNetGenerator(ResNetConfig(width=4, blocks=2))
    return Critic(CriticConfig(channels=1 + mode.conditional, width=4))


def shapes(state: dict[str, Tensor]) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in state.items()}


def norms(gradients: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(gradient.norm()) for name, gradient in gradients.items()}


def write(path: Path, facts: dict[str, Any], arrays: dict[str, Any] | None = None) -> None:
    path.write_text(json.dumps(facts), encoding="utf-8")
    if arrays:
        np.savez(path.with_suffix(".npz"), **{k: np.asarray(v) for k, v in arrays.items()})


if __name__ == "__main__":
    torch.set_num_threads(1)
    write_cases(Path(sys.argv[1]))
