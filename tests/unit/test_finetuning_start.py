"""What a run starts from keeps its own preprocessing."""

from pathlib import Path

import pytest

from radlearn.finetuning import run
from radlearn.finetuning.config import FinetuneConfig
from radlearn.models.backbone import BackboneConfig
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
