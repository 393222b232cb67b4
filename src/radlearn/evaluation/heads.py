"""What every evaluation and comparison begins with, whatever the runs learned."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from radlearn.evaluation.settings import EvaluateConfig
from radlearn.metrics.finished import fingerprint_of, names_of, one_fingerprint

SETTINGS = ("split", "resamples", "seed")


def evaluation_head(
    run: Path, config: EvaluateConfig, records: int, patients: int, *more: str
) -> dict[str, Any]:
    """The run's name, the fingerprint of what it was scored on, counts, and settings.

    Args:
        more: settings that count beside `SETTINGS`.
    """
    return {
        "format": 1,
        "run": run.resolve().name,
        "fingerprint": fingerprint_of(run, config.split),
        "records": records,
        "patients": patients,
        "config": {key: asdict(config)[key] for key in (*SETTINGS, *more)},
    }


def comparison_head(
    runs: Sequence[Path], config: EvaluateConfig, records: int, patients: int
) -> dict[str, Any]:
    """The names of the runs, the one fingerprint of what they were scored on, counts, settings.

    Raises:
        InputError: they were scored on different splits.
    """
    return {
        "format": 1,
        "runs": names_of(runs),
        "fingerprint": one_fingerprint(runs, config.split),
        "records": records,
        "patients": patients,
        "config": {key: asdict(config)[key] for key in SETTINGS},
    }
