"""Data sets that share patients, in one table, and what published weights were trained on.

A score is marked where what was trained on and what it is tested on are kin: a test patient may
have been seen, under another name. See `models.lineage`.
"""

from collections.abc import Mapping
from typing import NamedTuple

from radlearn.datasets import chexpert, covid, hannover, mimic, nih, rsna, siim


class Kin(NamedTuple):
    """Two data sets with patients in common, and how that came about."""

    names: frozenset[str]
    why: str


KIN = (
    Kin(frozenset({nih.NAME, rsna.NAME}), "RSNA's radiographs were drawn from NIH's"),
    Kin(frozenset({nih.NAME, siim.NAME}), "SIIM's radiographs were drawn from NIH's"),
    Kin(frozenset({rsna.NAME, siim.NAME}), "both were drawn from NIH ChestX-ray14"),
    Kin(frozenset({covid.NAME, hannover.NAME}), "the collection took pictures from Hannover"),
)

SEEN: Mapping[str, tuple[str, ...]] = {
    "MRM": (mimic.NAME,),
    "CXR-MAE": (chexpert.NAME, nih.NAME, mimic.NAME),
}
"""Data sets that published weights saw, by `models.imported.Kind`; their authors say so: MRM's
paper, and PRETRAIN.md of CXR-MAE's code (its ViT-B). Which of the images is not known."""


def kinship(trained: str, tested: str) -> str | None:
    """Why two data sets have patients in common; None where nothing of the kind is known."""
    if trained == tested:
        return "both are of one data set"
    return next((kin.why for kin in KIN if kin.names == {trained, tested}), None)
