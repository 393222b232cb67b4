"""Batch k of pretraining: images cropped, patches ranked and words hidden, from (seed, k) alone."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from tokenizers import Tokenizer

from radlearn.records.batches import Batch, batch_positions, part_of
from radlearn.records.reports import PAD, encode, mask_report
from radlearn.records.store import Selection
from radlearn.records.transforms import as_tensor, augmented, generator, resized

RECORD_STREAM = 0x4EC04D  # keeps what happens to a record apart from the order of records


@dataclass(frozen=True)
class PretrainBatches:
    """Makes batch k; picklable, so that a loader's worker can do it.

    Attributes:
        target: side of the images, pixels: what is to be rebuilt.
        patches: how many patches the encoder cuts an image into.
        tokenizer: None where no report is read.
        augment: random crops and flips, or the whole image.
        rank: which of `world` processes this is; each makes its share of the batch.
    """

    records: Selection
    target: int
    patches: int
    tokenizer: Tokenizer | None
    continuation: Bool[np.ndarray, "words"] | None
    length: int
    batch: int
    seed: int
    augment: bool = True
    crop: tuple[float, float] = (0.2, 1.0)
    rank: int = 0
    world: int = 1

    def __call__(self, step: int) -> Batch:
        whole = batch_positions(self.seed, step, len(self.records), self.batch)
        records = self.records.take(whole)
        reads = [bool(report) for report in records.column("report")]
        has = np.stack([records.has_image, np.array(reads) & (self.tokenizer is not None)], axis=1)
        part = part_of(whole, self.rank, self.world, has)
        batch = self.of(part.positions, step) | part.told(len(whole), self.world)
        for name, kept in zip(("has_image", "has_report"), part.has.T, strict=True):
            batch[name] &= torch.from_numpy(kept)
        if self.world > 1 and self.tokenizer is not None:
            said = (report for report in records.column("report") if report)
            tokens = (encode(self.tokenizer, report, self.length) for report in said)
            batch["longest"] = max((int((row != PAD).sum()) for row in tokens), default=0)
        return batch

    def of(self, positions: np.ndarray, step: int) -> Batch:
        """The batch of these records, as step `step` would see them."""
        count = len(positions)
        batch: Batch = {
            "ids": self.records.take(positions).ids,
            "image": torch.zeros(count, 1, self.target, self.target, dtype=torch.uint8),
            "noise": torch.ones(count, self.patches),
            "has_image": torch.zeros(count, dtype=torch.bool),
            "tokens": torch.zeros(count, self.length, dtype=torch.int64),
            "masked_tokens": torch.zeros(count, self.length, dtype=torch.int64),
            "hidden": torch.zeros(count, self.length, dtype=torch.bool),
            "has_report": torch.zeros(count, dtype=torch.bool),
        }
        for row, at in enumerate(positions):
            rng = generator(self.seed, RECORD_STREAM, step, int(at))
            self._put_image(batch, row, int(at), rng)
            self._put_report(batch, row, int(at), rng)
        return batch

    def _put_image(self, batch: Batch, row: int, at: int, rng: np.random.Generator) -> None:
        image = self.records.image(at)
        if image is None:
            return
        if self.augment:
            seen = augmented(image, self.target, rng, self.crop)
        else:
            seen = resized(as_tensor(image), self.target)
        batch["image"][row] = seen.round().to(torch.uint8)
        batch["noise"][row] = torch.from_numpy(rng.random(self.patches, dtype=np.float32))
        batch["has_image"][row] = True

    def _put_report(self, batch: Batch, row: int, at: int, rng: np.random.Generator) -> None:
        report = self.records.report(at)
        if self.tokenizer is None or self.continuation is None or not report:
            return
        tokens = encode(self.tokenizer, report, self.length)
        masked, hidden = mask_report(tokens, self.continuation, rng)
        batch["tokens"][row] = torch.from_numpy(tokens)
        batch["masked_tokens"][row] = torch.from_numpy(masked)
        batch["hidden"][row] = torch.from_numpy(hidden)
        batch["has_report"][row] = True
