"""The layouts that `prepare` knows: each is one file and one line here."""

from collections.abc import Callable
from pathlib import Path

from radlearn.datasets import covid, hannover, nih, openi
from radlearn.datasets.options import LayoutOptions
from radlearn.records.record import Source

LAYOUTS: dict[str, Callable[[Path, LayoutOptions], Source]] = {
    "nih": nih.records,
    "covid": covid.records,
    "openi": openi.records,
    "hannover": hannover.records,
}
