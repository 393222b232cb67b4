"""What a finished translation run answers: G(a) for a volume, and R's field between two."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from radlearn.engine.device import Compute, compute
from radlearn.engine.folder import finished_run
from radlearn.errors import InputError
from radlearn.files import read_json
from radlearn.models.registration import warp
from radlearn.models.weights import restore
from radlearn.translation.modes import MODES
from radlearn.translation.networks import NetworksConfig, build_networks
from radlearn.translation.terms import translating

OVERLAP = 0.5  # of neighbouring patches, in 3-D


@dataclass(frozen=True)
class Translator:
    """The networks that answer, on their device.

    Attributes:
        config: model/config.json of the run.
        generator: G, (B, C, *space) to (B, C', *space) in [-1, 1].
        registration: R, None where the mode has none.
        patch: what G is shown at a time in 3-D; None for whole slices.
    """

    config: dict[str, Any]
    generator: nn.Module
    registration: nn.Module | None
    patch: tuple[int, ...] | None
    compute: Compute
    batch: int = 8

    def translate(
        self, volume: Float32[np.ndarray, "channels_in depth height width"]
    ) -> Float32[np.ndarray, "channels_out depth height width"]:
        """G(a) of a volume in [-1, 1], slice by slice or by overlapping patches."""
        self.generator.eval()
        with torch.inference_mode():
            if self.patch is not None:
                return self._by_patches(volume)
            made = [self.generator(part) for (part,) in self._slices(volume)]
            return _stacked(made)

    def register(
        self,
        moving: Float32[np.ndarray, "channels depth height width"],
        fixed: Float32[np.ndarray, "channels depth height width"],
    ) -> tuple[Float32[np.ndarray, "dims depth height width"], Float32[np.ndarray, "..."]]:
        """R(moving, fixed) and the moving volume at x + phi(x).

        Returns:
            The field in pixels: 2 channels (rows, columns) from slices, 3 (slices too) in 3-D; and
            the warped volume.

        Raises:
            InputError: the run trained no registration.
        """
        if self.registration is None:
            raise InputError(
                f"the run's mode, {self.config['mode']}, has no registration; train one with +r"
            )
        self.registration.eval()
        with torch.inference_mode():
            if self.patch is not None:
                a, b = self._put(moving)[None], self._put(fixed)[None]
                field = self.registration(a, b)
                return _array(field[0]), _array(warp(a, field)[0])
            fields, warped = [], []
            for a, b in self._slices(moving, fixed):
                fields.append(self.registration(a, b))
                warped.append(warp(a, fields[-1]))
        return _stacked(fields), _stacked(warped)

    def _put(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.compute.device)

    def _slices(self, *volumes: np.ndarray) -> Iterator[tuple[Tensor, ...]]:
        for start in range(0, volumes[0].shape[1], self.batch):
            yield tuple(
                self._put(volume[:, start : start + self.batch].swapaxes(0, 1))
                for volume in volumes
            )

    def _by_patches(self, volume: np.ndarray) -> np.ndarray:
        from monai.inferers.utils import sliding_window_inference

        assert self.patch is not None
        made = sliding_window_inference(
            self._put(volume)[None],
            self.patch,
            sw_batch_size=1,
            predictor=self.generator,
            overlap=OVERLAP,
            mode="gaussian",
            padding_mode="constant",
            cval=-1.0,
        )
        assert isinstance(made, Tensor)
        return _array(made[0])


def _array(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()


def _stacked(parts: list[Tensor]) -> np.ndarray:
    """Slices (B, C, H, W) as one volume (C, D, H, W)."""
    return _array(torch.cat(parts)).swapaxes(0, 1)


def load_translator(run: Path, here: Compute | None = None) -> Translator:
    """The networks of a finished run, in float32.

    Raises:
        InputError: no finished translation run is there, or its files do not fit each other.
    """
    finished_run(run, "translation")
    config = read_json(run / "model" / "config.json", "a translation model")
    here = here or compute()
    try:
        patch = config["patch"]
        made = NetworksConfig(**config["networks"])
        mode = MODES[config["mode"]]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{run / 'model' / 'config.json'} describes no networks ({error!r}); copy the whole "
            "run folder again"
        ) from error
    nets = build_networks(mode, made)
    generator = translating(nets, made.generator)
    restore(generator, run / "model" / "model.safetensors")
    registration = nets.get("R")
    if registration is not None:
        restore(registration, run / "model" / "registration.safetensors")
        registration.to(here.device)
    return Translator(
        config, generator.to(here.device), registration, tuple(patch) if patch else None, here
    )
