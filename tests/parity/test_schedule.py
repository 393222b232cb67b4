"""The learning rate over training against the authors' own."""

import pytest

from radlearn.engine.schedule import warmup_cosine

from .rules import Case, cases


@pytest.mark.parametrize("case", cases("warmup_cosine*.json", needs=("at_epoch", "lr_at")))
def test_warmup_cosine(case: Case) -> None:
    facts = case.facts
    found = [
        warmup_cosine(
            epoch,
            warmup=facts["warmup_epochs"],
            total=facts["epochs"],
            lr=facts["lr"],
            floor=facts["min_lr"],
        )
        for epoch in facts["at_epoch"]
    ]
    assert found == pytest.approx(facts["lr_at"], rel=0, abs=1e-12)
