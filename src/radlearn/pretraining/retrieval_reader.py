"""What a pretrained MRM makes of whole images and of reports: the inputs of retrieval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from tokenizers import Tokenizer
from torch import Tensor

from radlearn.engine.device import Compute
from radlearn.engine.folder import finished_run
from radlearn.errors import InputError
from radlearn.models.backbone import BackboneConfig
from radlearn.models.inference import in_batches
from radlearn.models.model_folders import read_model
from radlearn.models.mrm import MRM, ImageDecoderConfig, Masking, MRMConfig
from radlearn.models.report_decoder import ReportDecoder, ReportDecoderConfig
from radlearn.models.weights import restore
from radlearn.records.reports import encode, load_tokenizer
from radlearn.records.transforms import Preprocessing, evaluated, generator, normalised

VIEW_STREAM = 0x91E5
Picture = Shaped[np.ndarray, "size size"]


@dataclass(frozen=True)
class Reader:
    """A finished pretraining run that has read reports.

    Attributes:
        config: of the run.
    """

    model: MRM
    preprocessing: Preprocessing
    tokenizer: Tokenizer
    config: dict[str, Any]
    compute: Compute

    @property
    def decoder(self) -> ReportDecoder:
        assert self.model.report_decoder is not None
        return self.model.report_decoder

    def tokens(self, reports: Sequence[str]) -> Int64[np.ndarray, "reports length"]:
        """As the report decoder reads them: [CLS], pieces, padding."""
        length = self.decoder.config.positions
        return np.stack([encode(self.tokenizer, report, length) for report in reports])

    def features(
        self, picture: Callable[[int], Picture | None], count: int, batch: int = 64
    ) -> Float[Tensor, "pictures features"]:
        """Means over the patch tokens of each quarter of the image, side by side.

        Quarters keep what a mean over the whole image all but loses: left and right, above and
        below. The encoder sees few patches at a time, as it was trained to: the patches are dealt,
        by one fixed random order, into as many views as the masking ratio of training leaves
        shares (four at 75 %), so that every patch is seen, and none with more company than in
        training.

        Args:
            picture: the stored pixels of pictures 0 to `count` - 1.

        Returns:
            float32, on the CPU.
        """
        model = self.model
        views = max(1, round(1 / (1 - float(self.config["mask_ratio"]))))
        order = generator(VIEW_STREAM).permutation(model.patch_count)
        prefix, width = model.encoder.num_prefix_tokens, model.encoder.embed_dim
        quarter, patches = self._quarters(), self._patches()

        def stored(position: int) -> Picture:
            pixels = picture(position)
            assert pixels is not None, "only records with images are looked at"
            return pixels

        def run(positions: np.ndarray) -> Tensor:
            grey = torch.stack([evaluated(stored(int(i)), self.preprocessing) for i in positions])
            seen = normalised(grey.to(self.compute.device), self.preprocessing)
            total = torch.zeros(len(seen), len(patches), width, device=seen.device)
            with self.compute.autocast():
                for some in np.array_split(order, views):
                    visible = torch.from_numpy(some).to(seen.device).expand(len(seen), -1)
                    latent = model.encode(seen, Masking(visible, visible[:, :0]))[:, prefix:]
                    where = torch.from_numpy(quarter[some]).to(seen.device)
                    total = total.index_add(1, where, latent.float())
            return (total / patches[:, None].to(seen.device)).flatten(1)

        with torch.inference_mode():
            return in_batches(count, batch, run).clone()

    def _quarters(self) -> Int64[np.ndarray, " patches"]:
        """Which quarter each patch is in; the middle of an odd grid belongs to the later half."""
        rows, columns = self.model.encoder.patch_embed.grid_size
        below, beside = np.arange(rows) >= rows // 2, np.arange(columns) >= columns // 2
        return (2 * below[:, None] + beside).ravel().astype(np.int64)

    def _patches(self) -> Float[Tensor, " quarters"]:
        """How many patches each quarter has."""
        return torch.from_numpy(np.bincount(self._quarters(), minlength=4).clip(1)).float()

    def summaries(
        self, features: Float[Tensor, "pictures features"]
    ) -> Float[Tensor, "pictures z"]:
        """z, what the report decoder is told of each image: from the mean over all patches."""
        share = self._patches() / self.model.patch_count
        whole = (features.unflatten(1, (len(share), -1)) * share[:, None]).sum(1)
        with torch.inference_mode():
            return self.decoder.project(whole.to(self.compute.device)).float().clone()


def open_reader(run: Path, compute: Compute) -> Reader:
    """Read a finished run of `radlearn pretrain`, both networks and the tokenizer.

    Raises:
        InputError: no such run, it is not finished, or it learnt from images or reports alone.
    """
    config = finished_run(run, "pretraining")
    if config.get("objective") != "mrm":
        raise InputError(
            f"{run} learnt from {config.get('objective')}s alone; retrieval needs a run of images "
            "and reports: radlearn pretrain --objective mrm"
        )
    saved = read_model(run / "model", weights=False)
    try:
        parts = saved.extra["networks"]
        networks = MRMConfig(
            BackboneConfig(**parts["backbone"]),
            ImageDecoderConfig(**parts["image_decoder"]),
            ReportDecoderConfig(**parts["report_decoder"]),
        )
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{run / 'model' / 'config.json'} does not describe an MRM ({error!r}); copy the whole "
            "run again"
        ) from error
    model = MRM(networks)
    restore(model, run / "model" / "mrm.safetensors")
    given = config.get("tokenizer")
    tokenizer = load_tokenizer(Path(given) if given else run / "model" / "tokenizer.json")
    return Reader(model.eval().to(compute.device), saved.preprocessing, tokenizer, config, compute)
