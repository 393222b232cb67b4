"""The layouts that `prepare` knows: each is one file and one line here."""

from collections.abc import Callable
from pathlib import Path

from radlearn.datasets import (
    chexpert,
    covid,
    folder,
    hannover,
    lungs,
    medpeft,
    mimic,
    nih,
    openi,
    rsna,
    siim,
)
from radlearn.datasets.options import LayoutOptions
from radlearn.records.record import Source

LAYOUTS: dict[str, Callable[[Path, LayoutOptions], Source]] = {
    "nih": nih.records,
    "chexpert": chexpert.records,
    "rsna": rsna.records,
    "covid": covid.records,
    "siim": siim.records,
    "mimic": mimic.records,
    "openi": openi.records,
    "hannover": hannover.records,
    "lungs": lungs.records,
    "medpeft": medpeft.records,
    "folder": folder.records,
}
