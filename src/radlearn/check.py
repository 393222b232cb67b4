"""`radlearn check`: whether runs and stores are still what they were when they were finished."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from radlearn.errors import InputError


@dataclass(frozen=True)
class CheckConfig:
    """Compare every file of finished runs and stores with the checksums that were written then.

    Example: radlearn check runs/mrm stores/nih
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Runs, stores, or folders that hold some."""

    def __post_init__(self) -> None:
        if not self.paths:
            raise InputError("no run, store or folder was given to check")


def check(config: CheckConfig) -> int:
    """Print what is damaged.

    Returns:
        0 when all is whole, 1 when something is damaged; it is named.

    Raises:
        InputError: nothing with checksums is there.
    """
    from radlearn.checksums import damage, line, marked
    from radlearn.engine.log import console, progress
    from radlearn.files import is_remote, spelled
    from radlearn.records.storage import remote_damage

    local = [path for path in config.paths if not is_remote(path)]
    folders = [folder for path in local for folder in marked(path)]
    for path in local:
        if not path.exists():
            raise InputError(f"nothing is at {path}; check the path")
        if not any(folder == path or path in folder.parents for folder in folders):
            raise InputError(
                f"{path} holds no finished run or store with checksums; runs and stores get "
                "them when they are finished"
            )
    folders += [path for path in config.paths if is_remote(path)]
    damaged = 0
    with progress("check", len(folders), unit="folders") as ticker:
        for folder in folders:
            found = list(remote_damage(folder) if is_remote(folder) else damage(folder))
            broken = [one for one in found if one is not None]
            for one in broken:
                console.print(line(one), style="red")
            damaged += len(broken)
            if not broken:
                console.print(f"{spelled(folder)}: {len(found)} files are whole")
            ticker.advance()
    if damaged:
        console.print(f"{damaged} files are damaged: copy them from elsewhere, or make them again")
    return 1 if damaged else 0
