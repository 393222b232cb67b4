"""The learning rate over training against the authors' own."""

import pytest

from radlearn.engine.schedule import warmup_cosine

from .rules import Case, Differences, cases, setting

ABSOLUTE = 1e-12


def rates(case: Case) -> list[float]:
    names = {"warmup": "warmup_epochs", "total": "epochs", "lr": "lr", "floor": "min_lr"}
    settings = {ours: setting(case, theirs) for ours, theirs in names.items()}
    return [warmup_cosine(epoch, **settings) for epoch in setting(case, "at_epoch")]


@pytest.mark.parametrize("case", cases("warmup_cosine*.json", needs=("lr_at",)))
def test_warmup_cosine(case: Case, differences: Differences) -> None:
    found, expected = rates(case), case.facts["lr_at"]
    assert len(found) == len(expected)
    for epoch, ours, theirs in zip(setting(case, "at_epoch"), found, expected, strict=True):
        differences.add_absolute(case, "learning rate", ours, theirs, ABSOLUTE, f"epoch {epoch}")
    differences.check()
