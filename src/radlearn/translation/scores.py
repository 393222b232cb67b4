"""How near a translation is, slice by slice, on pairs that training did not see; and panels."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float32

from radlearn.engine.processes import spread
from radlearn.files import replacing
from radlearn.metrics.translation import BACKGROUND, paper_scores, standard_scores
from radlearn.records.pair_store import PairStore, clipped
from radlearn.records.record import Split
from radlearn.translation.inference import Translator

PANELS = 6
Rows = Mapping[Split, Sequence[tuple[int, int]]]
Volume = Float32[np.ndarray, "channels depth height width"]


def score_volumes(
    stores: Sequence[PairStore], rows: Rows, translator: Translator, step: int
) -> pl.DataFrame:
    """NMAE, PSNR and SSIM of every slice of every pair, as RegGAN's paper counts and as usual.

    Returns:
        A row a slice: step, split, id, patient, slice, foreground (share of the target that is not
        background), and "paper_" and "standard_" scores; NaN where a score has no meaning.
    """

    def scored(place: tuple[Split, int, int]) -> list[dict[str, Any]]:
        split, at, row = place
        store = stores[at]
        source, target = clipped(store.source(row)), clipped(store.target(row))
        made = translator.translate(source)
        about = {
            "step": step,
            "split": str(split),
            "id": store.rows["id"][row],
            "patient": store.rows["patient"][row],
        }
        return [
            about | {"slice": int(part)} | _scores(made[:, part], target[:, part])
            for part in store.slices(row)
        ]

    places = [(split, *place) for split, of_split in rows.items() for place in of_split]
    found = spread(translator.compute, places, scored)
    return pl.DataFrame([one for of_volume in found for one in of_volume])


def _scores(made: np.ndarray, real: np.ndarray) -> dict[str, float]:
    named = (("paper", paper_scores(made, real)), ("standard", standard_scores(made, real)))
    scores = {f"{kind}_{name}": value for kind, all_ in named for name, value in all_.items()}
    return {"foreground": float((real != BACKGROUND).any(0).mean())} | scores


def save_panels(
    folder: Path, stores: Sequence[PairStore], rows: Rows, translator: Translator
) -> None:
    """What a page draws: source, target, G(a) and, where there is R, its field and G(a) o phi.

    Slices from a quarter to three quarters of the pairs held apart, the test pairs first.
    """
    for number, (split, at, row, part) in enumerate(_shown(stores, rows)):
        store = stores[at]
        # R sees what it saw in training: in 2-D a slice, in 3-D the volume
        near = slice(None) if translator.patch is not None else slice(part, part + 1)
        inside = part if translator.patch is not None else 0
        source, target = clipped(store.source(row)[:, near]), clipped(store.target(row)[:, near])
        made = translator.translate(source)
        arrays = {"source": source, "target": target, "made": made}
        if translator.registration is not None:
            arrays["field"], arrays["registered"] = translator.register(made, target)
        kept: dict[str, Any] = {name: values[:, inside] for name, values in arrays.items()}
        kept |= {
            "split": str(split),
            "id": store.rows["id"][row],
            "slice": part,
            "spacing": np.array(store.rows["spacing"][row], np.float64),
        }
        with replacing(folder / f"{number:02d}.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **kept)


def _shown(stores: Sequence[PairStore], rows: Rows) -> Iterator[tuple[Split, int, int, int]]:
    """The middle of as many pairs as are shown; where there are fewer, several slices of each."""
    split = Split.TEST if Split.TEST in rows else Split.VAL
    places = list(rows[split])[:PANELS]
    each = max(PANELS // len(places), 1)
    for at, row in places:
        slices = list(stores[at].slices(row))
        for share in np.linspace(0.25, 0.75, each) if each > 1 else [0.5]:
            yield split, at, row, int(slices[int(share * (len(slices) - 1))])
