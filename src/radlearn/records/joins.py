"""Who is one patient: by the source's word, by a picture under two ids, by a linked store."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from radlearn.records.duplicates import Small, small_pictures, twins
from radlearn.records.geometry import unplaced
from radlearn.records.keys import hashed
from radlearn.records.record import Split
from radlearn.records.splits import joined
from radlearn.records.store import Store


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
    described: list[dict[str, object]]


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
    ids = store.rows["id"].to_list()
    hashes = store.rows["phash"].to_list()
    pairs = twins(
        hashes,
        partial(small_of, store),
        known=lambda i, j: patients[i] == patients[j],
    )
    present = set(patients)
    groups: list[list[tuple[str, str]]] = [
        [("own", patient) for patient in sorted(group & present)] for group in same_patient
    ]
    groups += [[("own", patients[i]), ("own", patients[j])] for i, j in pairs]
    evidence = [(patients[i], [ids[i], ids[j]]) for i, j in pairs]
    own_hash = {patient: hashed(key, patient) for patient in present}
    splits: dict[str, set[Split]] = defaultdict(set)
    for link in links:
        theirs = link.rows["patient"].to_list()
        names = link.rows["id"].to_list()
        for patient, split in link.rows.select("patient", "split").iter_rows():
            if split is not None:
                splits[patient].add(Split(split))
        known = set(theirs)
        groups += [
            [("own", patient), ("linked", value)]
            for patient, value in own_hash.items()
            if value in known
        ]
        for i, j in twins(
            hashes,
            partial(small_of, store),
            link.rows["phash"].to_list(),
            partial(small_of, link),
        ):
            groups.append([("own", patients[i]), ("linked", theirs[j])])
            evidence.append((patients[i], [ids[i], f"{link.info['name']}:{names[j]}"]))
    return _described(groups, evidence, present, own_hash, splits)


def _described(
    groups: list[list[tuple[str, str]]],
    evidence: list[tuple[str, list[str]]],
    present: set[str],
    own_hash: dict[str, str],
    splits: dict[str, set[Split]],
) -> Joins:
    root = joined([group for group in groups if group])
    members: dict[object, list[tuple[str, str]]] = defaultdict(list)
    for member, top in root.items():
        members[top].append(member)  # type: ignore[arg-type]
    representative = {patient: patient for patient in present}
    hashes, linked, described = dict(own_hash), {}, []
    for group in members.values():
        own = sorted(name for kind, name in group if kind == "own")
        others = sorted(name for kind, name in group if kind == "linked")
        if not own or len(group) < 2:
            continue
        for patient in own:
            representative[patient] = own[0]
        if others:
            hashes[own[0]] = others[0]
            linked[own[0]] = sorted({split for other in others for split in splits[other]})
        described.append(
            {
                "patient": hashes[own[0]],
                "members": len(own),
                "linked": len(others),
                "same_pictures": [pair for patient, pair in evidence if patient in own],
            }
        )
    described.sort(key=lambda entry: str(entry["patient"]))
    return Joins(representative, hashes, linked, described)
