"""Where a page's numbers come from, read off a run's config."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from radlearn.engine.folder import STORES
from radlearn.report.page import Section, Table

KNOWN = {
    "radlearn": "Version of radlearn",
    "seed": "Seed",
    "stores": "Stores",
    "licences": "Licences of the data",
    "learnt_from": "The backbone learnt from",
    "fingerprints": "Fingerprints",
    "marks": "To be said of the scores",
}
COMMANDS = {"pretraining": "pretrain", "finetuning": "finetune", "translation": "translate"}


def facts(config: Mapping[str, Any]) -> dict[str, str]:
    """What a reader needs to trust the page: version, seed, stores, licences, fingerprints.

    Args:
        config: of the run. `licences` holds dicts with name, licence and terms; `fingerprints` a
            name each. What is absent is left out.
    """
    found = {}
    for key, name in KNOWN.items():
        value = config.get(key)
        if value in (None, "", [], {}):
            continue
        if key in ("licences", "learnt_from"):
            found[name] = "\n".join(_licence(one) for one in value)
        elif key == "marks":
            found[name] = "\n".join(value)
        elif isinstance(value, Mapping):
            found[name] = "\n".join(f"{part}: {_text(of)}" for part, of in value.items())
        else:
            found[name] = _text(value)
    return found


def scored_on(evaluation: Mapping[str, Any] | None) -> dict[str, str]:
    """What a run was scored on, as another of its facts; nothing where it was not scored."""
    if not evaluation:
        return {}
    return {
        "Scored on": f"{evaluation['config']['split']}, {evaluation['records']:,} records of "
        f"{evaluation['patients']:,} patients; fingerprint {evaluation['fingerprint'] or '–'}"
    }


def of_split(evaluation: Mapping[str, Any]) -> str:
    """The same as the first sentences of a section of scores."""
    return (
        f"On the {evaluation['config']['split']} split: {evaluation['records']:,} records of "
        f"{evaluation['patients']:,} patients. Intervals are 95 %, by bootstrap over patients."
    )


def command(config: Mapping[str, Any], run: Path) -> str:
    """The command line that makes the run again, every setting spelled out.

    Settings are the config's keys but for those that tell about the run (`facts`, the mission)
    and those that hold more than a value or a list.
    """
    if config.get("mission") not in COMMANDS:
        return ""
    told = {"mission", STORES, *KNOWN} - {"seed", "stores"}
    words = ["radlearn", COMMANDS[config["mission"]], *map(str, config.get("stores") or [])]
    words += ["--run", str(run)]
    for key, value in config.items():
        if key in {*told, "stores"} or isinstance(value, Mapping) or value in (None, "", [], ()):
            continue
        flag = f"--{key.replace('_', '-')}"
        if isinstance(value, list | tuple):
            words += [flag, *map(str, value)]
        else:
            words += [flag, str(value)]
    return shlex.join(words)


def settings(config: Mapping[str, Any]) -> Section:
    """Everything in the config that `facts` does not show, closed until someone opens it."""
    rest = {key: value for key, value in config.items() if key not in KNOWN}
    rows = [(name, _text(value)) for name, value in _flat(rest)]
    if not rows:
        return Section("Settings")
    return Section("Settings", "", [Table("All settings", ["setting", "value"], rows, folded=True)])


def _licence(one: Any) -> str:
    if not isinstance(one, Mapping):
        return _text(one)
    text = f"{one.get('name', 'unnamed')}: {one.get('licence') or 'licence not stated'}"
    return text + (f" ({one['terms']})" if one.get("terms") else "")


def _flat(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_text(one) for one in value) or "–"
    return str(value)
