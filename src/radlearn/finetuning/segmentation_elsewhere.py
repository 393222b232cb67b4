"""A finished segmentation, unchanged, on another store: what it draws there and what that is worth.

`RUN/on/STORE` is a run folder of its own, finished, that scores, compares and shows like any other.
"""

from pathlib import Path
from typing import Any

from radlearn.engine.device import compute
from radlearn.engine.folder import RunFolder, finished_run
from radlearn.engine.log import console
from radlearn.errors import InputError
from radlearn.files import read_json, spelled, write_json
from radlearn.finetuning.evaluate_masks import ELSEWHERE
from radlearn.finetuning.segmentation import NEEDS, Segmentation, drawn_on
from radlearn.finetuning.segmentation_predict import load_segmenter
from radlearn.models.imported import LEARNT_FROM
from radlearn.models.lineage import MARKS, Seen, marks, stores_there
from radlearn.records.record import Split
from radlearn.records.storage import is_there
from radlearn.records.store import Selection, open_store, select


def answered_on(run: Path, place: Path, split: str) -> Path:
    """Draw the masks of a split of another store, unless that is done; returns the folder of it.

    Raises:
        InputError: the run is not finished, the store has no masks of the split or of other
            classes, or holds a patient whom the run was trained on.
    """
    config = finished_run(run, "finetuning")
    store = open_store(place)
    records = select([store], split=Split(split), view=config["view"], needs=NEEDS)
    folder = run / ELSEWHERE / store.path.name
    results, fingerprints = folder / "results.json", {split: records.fingerprint()}
    if results.exists() and read_json(results, "a run")["fingerprints"] == fingerprints:
        return folder
    _refuse_known(config, records, run)
    tuned = load_segmenter(run)
    if len(store.mask_names) != len(tuned.classes):
        raise InputError(
            f"{run} draws {', '.join(tuned.classes)}, and the masks of {spelled(place)} are of "
            f"{', '.join(store.mask_names)}; give a store of the same classes"
        )
    here = compute(config["device"], config["precision"])
    tuned.model.to(here.device)
    answers = drawn_on(
        tuned.model, records, tuned.preprocessing, tuned.inference, here, 2 * config["batch"]
    )
    task = Segmentation({Split(split): records}, tuned.classes, 1, tuned.inference)
    folder.mkdir(parents=True, exist_ok=True)
    said = _marks(config, records)
    told = {
        "stores": [spelled(place)],
        "fingerprints": fingerprints,
        "licences": records.licences(),
        MARKS: said,
    }
    write_json(folder / "config.json", config | told | {"trained": str(run)})
    task.write(folder, {Split(split): answers})
    about = {"fingerprints": fingerprints, "trained": str(run), MARKS: said}
    write_json(results, {"finished": True} | about)
    task.page(RunFolder(folder, read_json(folder / "config.json", "a run")))
    return folder


def _marks(config: dict[str, Any], records: Selection) -> list[str]:
    """What has to be said of the scores on another store: whom the run may have seen of it."""
    training = Seen("training", stores_there(config["stores"]), config["licences"])
    return marks(records, training, Seen("pretraining", (), config.get(LEARNT_FROM, ())))


def _refuse_known(config: dict[str, object], records: Selection, run: Path) -> None:
    """Raise `InputError` where a patient was trained on; say so where nobody can know."""
    trained = [Path(str(one)) for one in list(config["stores"])]  # type: ignore[call-overload]
    if not all(is_there(one) for one in trained):
        console.print(
            f"the stores that {run} was trained on are gone: whether it has seen these patients "
            "cannot be checked",
            style="yellow",
        )
        return
    stores = [open_store(one) for one in trained]
    known = select(stores, split=Split.TRAIN, view=config["view"], needs=NEEDS)  # type: ignore[arg-type]
    if shared := records.shared_with(known):
        raise InputError(
            f"{len(shared)} records, such as {shared[0]}, are of patients that {run} was trained "
            "on; prepare the store again with --link to the one of the training"
        )
