"""What every task promises, whichever it is."""

from dataclasses import fields
from typing import get_args, get_type_hints

import pytest
import torch

from radlearn.evaluate import KINDS
from radlearn.finetuning.config import FinetuneConfig
from radlearn.finetuning.ordinal import LevelHead
from radlearn.finetuning.readings import READINGS, Levels
from radlearn.finetuning.tasks import TASKS
from radlearn.finetuning.terms import level_loss


def test_the_command_line_the_scores_and_the_tasks_name_the_same() -> None:
    assert {field.name for field in fields(FinetuneConfig)} >= {"task"}
    assert set(get_args(get_type_hints(FinetuneConfig)["task"])) == set(TASKS)
    assert set(TASKS) <= set(KINDS)
    assert set(READINGS) == set(TASKS) - {"segmentation"}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_goes_by_its_name_and_a_metric_of_validation(name: str) -> None:
    assert TASKS[name].name == name
    assert TASKS[name].metric.startswith("val_")


def test_a_head_of_levels_is_a_plain_layer_with_falling_logits() -> None:
    torch.manual_seed(0)
    head = LevelHead(5, 3)
    torch.nn.init.normal_(head.weight)
    with torch.no_grad():
        head.bias.copy_(torch.tensor([1.0, 2.0, -1.0]))
    seen = torch.randn(7, 5)
    logits = head(seen)
    assert (logits.diff(dim=1) <= 0).all()
    torch.testing.assert_close(head.plain()(seen), logits)
    assert type(head.plain()) is torch.nn.Linear


def test_a_head_of_levels_learns_their_order() -> None:
    torch.manual_seed(0)
    seen = torch.randn(400, 5)
    level = (seen[:, 0] > torch.tensor([-1.0, 0.3, 1.2])[:, None]).sum(0).float()
    head = LevelHead(5, 3)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.1, weight_decay=0)
    for _ in range(150):
        optimizer.zero_grad()
        level_loss(head(seen), level[:, None]).backward()
        optimizer.step()
    called = Levels(("a", "b", "c", "d")).level(head(seen).detach().double().numpy())
    assert (called == level.numpy()).mean() > 0.95
    weight = head.weight[0].detach()
    assert weight[0] > 10 * weight[1:].abs().max()
