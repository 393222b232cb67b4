"""The page of a run that learned one class, one level of a scale, or a number a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from radlearn.report.finetuning import finetuning_page


def targets_page(
    run: Path,
    metrics: Sequence[Mapping[str, Any]],
    evaluation: Mapping[str, Any] | None,
    config: Mapping[str, Any],
) -> Path:
    """Write run/report.html and return its path."""
    return finetuning_page(run, metrics, evaluation, [], config)
