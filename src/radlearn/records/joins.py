"""Who is one patient: by the source's word, by a picture under two ids, by a linked store."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from radlearn.records.duplicates import Small, small_pictures, twins
from radlearn.records.geometry import unplaced
from radlearn.records.groups import Groups
from radlearn.records.keys import hashed
from radlearn.records.record import Split
from radlearn.records.store import Store


class Who(NamedTuple):
    """A patient: by the source's own id, or by the hash that a linked store holds."""

    linked: bool
    name: str


class Evidence(NamedTuple):
    """The ids of two records with the same picture, and a patient of the first."""

    who: Who
    records: tuple[str, str]


@dataclass(frozen=True)
class Joins:
    """Patients after joining.

    Attributes:
        representative: a source's patient id to the id that stands for the joined patient.
        hash: representative to what the store calls the patient.
        linked: representative to the splits that linked stores hold the patient in.
        described: what store.json says of each joined patient.
    """

    representative: dict[str, str]
    hash: dict[str, str]
    linked: dict[str, list[Split]]
    described: list[dict[str, Any]]


def small_of(store: Store, row: int) -> Small:
    """The small pictures of a stored record."""
    image = store.image(row)
    assert image is not None
    height, width = store.rows["height"][row], store.rows["width"][row]
    return small_pictures(unplaced(image, height, width, store.info["fit"]))


def join(
    store: Store,
    patients: Sequence[str],
    same_patient: Iterable[frozenset[str]],
    links: Sequence[Store],
    key: bytes,
) -> Joins:
    """Join the patients of a store in the making.

    Args:
        store: its pixels and rows.
        patients: the source's patient id of each row.
        same_patient: groups that the source says are one.
        links: stores whose patients may be among ours.
        key: of the store in the making.
    """
    groups: Groups[Who] = Groups()
    own = [Who(False, patient) for patient in patients]
    hashes = {patient: hashed(key, patient) for patient in sorted(set(patients))}
    for together in same_patient:
        groups.join(Who(False, patient) for patient in sorted(together & hashes.keys()))
    ids, pictures = store.rows["id"].to_list(), store.rows["phash"].to_list()
    small = partial(small_of, store)
    evidence = []
    for i, j in twins(pictures, small, known=lambda i, j: groups.same(own[i], own[j])):
        groups.join((own[i], own[j]))
        evidence.append(Evidence(own[i], (ids[i], ids[j])))
    for link in links:
        evidence += _link(groups, own, hashes, link, ids, pictures, small)
    return _joins(groups, evidence, hashes, _splits(links))


def _link(
    groups: Groups[Who],
    own: Sequence[Who],
    hashes: Mapping[str, str],
    link: Store,
    ids: Sequence[str],
    pictures: Sequence[str | None],
    small: Callable[[int], Small],
) -> Iterator[Evidence]:
    """Join our patients with those of one linked store; the pictures that say so."""
    theirs = [Who(True, patient) for patient in link.rows["patient"]]
    known = {who.name for who in theirs}
    for patient, value in hashes.items():
        if value in known:
            groups.join((Who(False, patient), Who(True, value)))
    for i, j in twins(
        pictures,
        small,
        link.rows["phash"].to_list(),
        partial(small_of, link),
        known=lambda i, j: groups.same(own[i], theirs[j]),
    ):
        groups.join((own[i], theirs[j]))
        yield Evidence(own[i], (ids[i], f"{link.info['name']}: {link.rows['id'][j]}"))


def _splits(links: Sequence[Store]) -> dict[str, set[Split]]:
    """The splits of each patient of the linked stores."""
    splits: dict[str, set[Split]] = defaultdict(set)
    for link in links:
        for patient, split in link.rows.select("patient", "split").iter_rows():
            if split is not None:
                splits[patient].add(Split(split))
    return splits


def _joins(
    groups: Groups[Who],
    evidence: Sequence[Evidence],
    hashes: Mapping[str, str],
    splits: Mapping[str, set[Split]],
) -> Joins:
    joins = Joins({patient: patient for patient in hashes}, dict(hashes), {}, [])
    for group in groups.groups():
        own = sorted(who.name for who in group if not who.linked)
        others = sorted(who.name for who in group if who.linked)
        if not own:
            continue
        first = own[0]
        joins.representative.update(dict.fromkeys(own, first))
        if others:
            joins.hash[first] = others[0]
            joins.linked[first] = sorted({s for other in others for s in splits.get(other, ())})
        joins.described.append(
            {
                "patient": joins.hash[first],
                "members": len(own),
                "linked": len(others),
                "same_pictures": [list(e.records) for e in evidence if e.who in group],
            }
        )
    joins.described.sort(key=lambda entry: entry["patient"])
    return joins
