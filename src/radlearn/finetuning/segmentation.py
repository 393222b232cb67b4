"""Segmentation: a class for every pixel, of one class or of several."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import PIL.Image
import polars as pl
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from radlearn.engine.device import Compute
from radlearn.engine.folder import RunFolder
from radlearn.engine.log import console, read_metrics
from radlearn.engine.processes import spread
from radlearn.engine.shares import Places, Told
from radlearn.errors import InputError
from radlearn.evaluate import evaluate_run
from radlearn.evaluation.settings import EvaluateConfig
from radlearn.files import replacing
from radlearn.finetuning.config import FinetuneConfig
from radlearn.finetuning.examples import choose
from radlearn.finetuning.segmentation_batches import SegmentationBatches, may_flip
from radlearn.finetuning.segmentation_inference import Inference, predicted_masks
from radlearn.finetuning.segmentation_loss import segmentation_terms
from radlearn.finetuning.task import Learner, Setup, Task
from radlearn.metrics.segmentation import mask_score, mean_dice, pixel_counts
from radlearn.models.backbone import BackboneConfig
from radlearn.models.segmenter import Segmenter, build_segmenter
from radlearn.records.batches import Batch
from radlearn.records.geometry import placement
from radlearn.records.record import NOT_ANNOTATED, Split
from radlearn.records.store import Need, Selection, Store
from radlearn.records.transforms import Preprocessing
from radlearn.report.segmentation import DrawnMask, segmentation_page

NEEDS: frozenset[Need] = frozenset({"image", "mask"})
MASKS = "masks.parquet"
SHOWN = 4
"""Records of each place, best, median and worst, on the page."""


@dataclass(frozen=True, eq=False)
class MaskAnswers:
    """The masks of one split's records.

    Attributes:
        masks: as PNG files, so that those of a whole split fit into memory.
        counts: see `pixel_counts`.
    """

    masks: list[bytes]
    counts: Float[np.ndarray, "records classes three"]


@dataclass(frozen=True, eq=False)
class Segmentation(Task[MaskAnswers]):
    """A class for every pixel.

    Attributes:
        classes: their names; class k of a mask is the k-th, counted from 1.
        width: channels inside the decoder.
        inference: how a whole picture is seen.
    """

    name: ClassVar[str] = "segmentation"
    metric: ClassVar[str] = "val_dice"
    records: dict[Split, Selection]
    classes: tuple[str, ...]
    width: int
    inference: Inference

    @classmethod
    def of(cls, stores: Sequence[Store], config: FinetuneConfig) -> Self:
        if config.labels:
            raise InputError("--labels is not for segmentation, which learns all that masks name")
        if not any(store.mask_names for store in stores):
            raise InputError(
                f"{', '.join(store.path.name for store in stores)}: no masks; prepare a store of "
                "a layout that has some, such as lungs, siim or folder"
            )
        records = choose(stores, config, NEEDS, _all)
        classes = records[Split.TRAIN].mask_names
        _check_drawn(records[Split.TRAIN], classes)
        return cls(records, classes, config.decoder_width, config.inference)

    @property
    def summary(self) -> str:
        return f"masks of {', '.join(self.classes)}"

    def settings(self) -> dict[str, Any]:
        return {"classes": list(self.classes)}

    def facts(self) -> dict[str, Any]:
        return {"classes": list(self.classes), "width": self.width, "inference": self.inference}

    def build(self, backbone: BackboneConfig, drop_path: float) -> nn.Module:
        return build_segmenter(backbone, len(self.classes), self.width, drop_path)

    def backbone(self, model: nn.Module) -> nn.Module:
        assert isinstance(model, Segmenter)
        return model.backbone

    def learner(self, model: nn.Module, setup: Setup) -> Learner[MaskAnswers]:
        side, size = self.records[Split.TRAIN].size, setup.preprocessing.size
        if self.inference == "sliding" and side is not None and side < size:
            raise InputError(
                f"--inference sliding needs pictures larger than its window of {size} px, and the "
                f"store's have {side} px; give --image-size below that, or --inference whole"
            )
        assert isinstance(model, Segmenter)
        return _Learner(self, model, setup)

    def score(self, answers: MaskAnswers, split: Split) -> float:
        return mean_dice(answers.counts)

    def write(self, run: Path, answers: Mapping[Split, MaskAnswers]) -> None:
        if not answers:
            return
        rows = [row for split, found in answers.items() for row in self._rows(split, found)]
        with replacing(run / "predictions.parquet") as temporary:
            pl.DataFrame(rows, infer_schema_length=None).write_parquet(temporary)
        kept = [
            {"split": str(split), "id": name, "mask": mask}
            for split, found in answers.items()
            for name, mask in zip(self.records[split].ids, found.masks, strict=True)
        ]
        with replacing(run / MASKS) as temporary:
            pl.DataFrame(kept).write_parquet(temporary)

    def _rows(self, split: Split, answers: MaskAnswers) -> Iterator[dict[str, Any]]:
        """A row a record and class."""
        records = self.records[split]
        known = zip(records.ids, records.patients, spacings(records), strict=True)
        for at, (name, patient, spacing) in enumerate(known):
            truth, predicted = records.mask(at), unpacked(answers.masks[at])
            assert truth is not None
            for number, class_name in enumerate(self.classes, 1):
                scored = mask_score(truth, predicted, number, spacing)
                about = {"split": str(split), "id": name, "patient": patient, "class": class_name}
                yield about | scored._asdict()

    def page(self, run: RunFolder) -> None:
        evaluation, drawn = None, []
        if self.records.keys() - {Split.TRAIN}:
            split: Literal["val", "test"] = "test" if Split.TEST in self.records else "val"
            evaluation = evaluate_run(run.path, EvaluateConfig((run.path,), split=split))
            drawn = _drawn(run.path, self.records[Split(split)], split)
        segmentation_page(run.path, read_metrics(run.path), evaluation, drawn, run.config)


class _Learner:
    """The segmenter on its way."""

    def __init__(self, task: Segmentation, model: Segmenter, setup: Setup) -> None:
        self.task, self.model, self.setup = task, model, setup
        config = setup.config
        self.batches = SegmentationBatches(
            task.records[Split.TRAIN],
            setup.preprocessing.size,
            config.batch,
            config.seed,
            config.augment or ("none" if config.tuner == "linear" else "plain"),
            (config.crop, 1.0),
            task.inference == "sliding",
            may_flip(task.classes),
            setup.here.rank,
            setup.here.world,
        )

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        return segmentation_terms(self.model, batch, self.setup.preprocessing)

    def told(self, batch: Batch) -> Told:
        real = batch["rows"] >= 0
        known = int((batch["mask"][real] != NOT_ANNOTATED).sum())
        entries = {
            "focal": known,
            "dice": int(real.sum()),
            "auxiliary_focal": known,
            "auxiliary_dice": int(real.sum()),
        }
        return Told(entries, (Places(np.ones(len(real), np.int64)),))

    def answers(self, split: Split) -> MaskAnswers:
        return drawn_on(
            self.model,
            self.task.records[split],
            self.setup.preprocessing,
            self.task.inference,
            self.setup.here,
            self.setup.scoring_batch,
        )


def drawn_on(
    model: Segmenter,
    records: Selection,
    preprocessing: Preprocessing,
    inference: Inference,
    here: Compute,
    batch: int,
) -> MaskAnswers:
    """The masks that a model draws on records that have a true one.

    Args:
        batch: pictures, or windows, at a time.
    """

    def drawn(start: int) -> list[tuple[bytes, np.ndarray]]:
        places = range(start, min(start + batch, len(records)))
        pictures = [picture for at in places if (picture := records.image(at)) is not None]
        answers = []
        found = predicted_masks(model, pictures, preprocessing, inference, here, batch)
        for at, predicted in zip(places, found, strict=True):
            truth = records.mask(at)
            assert truth is not None
            counts = pixel_counts(truth, predicted, len(records.mask_names))
            answers.append((packed(predicted), counts))
        return answers

    found = [one for some in spread(here, range(0, len(records), batch), drawn) for one in some]
    masks, counts = zip(*found, strict=True)
    return MaskAnswers(list(masks), np.stack(counts))


def packed(mask: UInt8[np.ndarray, "height width"]) -> bytes:
    """A mask as a PNG file."""
    file = io.BytesIO()
    PIL.Image.fromarray(mask).save(file, "PNG")
    return file.getvalue()


def unpacked(png: bytes) -> UInt8[np.ndarray, "height width"]:
    """The inverse of `packed`."""
    return np.array(PIL.Image.open(io.BytesIO(png), formats=["PNG"]))


def spacings(records: Selection) -> list[tuple[float, float] | None]:
    """Millimetres between rows and between columns of each stored picture, where it is known."""
    if not any("spacing" in store.rows.columns for store in records.stores):
        return [None] * len(records)
    found: list[tuple[float, float] | None] = []
    known = zip(
        records.column("spacing"),
        records.column("height"),
        records.column("width"),
        records.at[:, 0],
        strict=True,
    )
    for spacing, height, width, store in known:
        info = records.stores[store].info
        if spacing is None or height is None or width is None:
            found.append(None)
            continue
        place = placement(height, width, info["size"], info["fit"])
        found.append((spacing[0] * height / place.height, spacing[1] * width / place.width))
    return found


def _all(split: Split, found: Selection) -> Bool[np.ndarray, "records"]:
    return np.ones(len(found), bool)


def _check_drawn(records: Selection, classes: Sequence[str]) -> None:
    """Refuse masks that are all empty; say so of a class that is in none of them."""
    missing = set(range(1, len(classes) + 1))
    for at in range(len(records)):
        mask = records.mask(at)
        assert mask is not None
        missing -= set(np.unique(mask).tolist())
        if not missing:
            return
    names = ", ".join(classes[number - 1] for number in sorted(missing))
    if len(missing) == len(classes):
        raise InputError(
            f"all {len(records)} training masks are empty, so there is no {names} to learn; "
            "prepare a store with masks that are drawn, or give a larger --fraction"
        )
    console.print(f"no training mask has any {names}: the run will not learn it")


def _drawn(run: Path, records: Selection, split: str) -> list[DrawnMask]:
    """The best, median and worst records by Dice among those whose truth is not empty."""
    scores = pl.read_parquet(run / "predictions.parquet").filter(pl.col("split") == split)
    ranked = (
        scores.group_by("id")
        .agg(pl.col("dice").mean(), pl.col("truth").sum())
        .sort(pl.col("truth") == 0, -pl.col("dice"), "id")
    )
    count = int((ranked["truth"] > 0).sum()) or ranked.height
    shown = min(SHOWN, max(count // 3, 1))
    middle = max((count - shown) // 2, 0)
    chosen = {"best": range(shown), "median": range(middle, middle + shown)}
    chosen |= {"worst": range(max(count - shown, 0), count)}
    place = {name: at for at, name in enumerate(records.ids)}
    masks = dict(
        pl.read_parquet(run / MASKS)
        .filter(pl.col("split") == split)
        .select("id", "mask")
        .iter_rows()
    )
    drawn, seen = [], set()
    for title, rows in chosen.items():
        for row in rows:
            name, dice = ranked["id"][row], ranked["dice"][row]
            if name in seen:
                continue
            seen.add(name)
            image, truth = records.image(place[name]), records.mask(place[name])
            assert image is not None and truth is not None
            grey = image if image.dtype == np.uint8 else (image // 257).astype(np.uint8)
            drawn.append(DrawnMask(grey, truth, unpacked(masks[name]), title, float(dice)))
    return drawn
