"""A batch shared out: rows in turn, a stand-in where there are none, chance cut from one draw."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn

from radlearn.engine.draws import Draws, Rows
from radlearn.records.batches import part_of

WHOLE = np.array([7, 3, 9, 1, 4])


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_every_row_is_taken_once(world: int) -> None:
    parts = [part_of(WHOLE, rank, world) for rank in range(world)]
    rows = np.concatenate([part.rows for part in parts])
    assert sorted(rows) == list(range(5))
    assert all((WHOLE[part.rows] == part.positions).all() for part in parts)


def test_another_stands_in_where_a_process_has_nothing() -> None:
    part = part_of(WHOLE[:1], 1, 2)
    assert part.positions.tolist() == [7] and part.rows.tolist() == [-1]
    has = np.array([[True, False], [False, True], [True, False], [False, True], [True, True]])
    first, second = (part_of(WHOLE, rank, 2, has) for rank in (0, 1))
    assert first.rows.tolist() == [0, 2, 4]
    assert second.rows.tolist() == [1, 3, -1] and second.positions[-1] == 7
    assert second.has[-1].tolist() == [True, False]
    nothing = part_of(WHOLE, 1, 2, has & np.array([True, False]))
    assert not nothing.has[:, 1].any()


def attended(x: Tensor) -> Tensor:
    mask = torch.ones(x.shape[-2], dtype=torch.bool)
    return F.scaled_dot_product_attention(x, x, x, mask, dropout_p=0.3)


CHANCES: dict[str, Callable[[Tensor], Tensor]] = {
    "dropout": nn.Dropout(0.4),
    "depth": DropPath(0.5),
    "normal": torch.randn_like,
    "attention": attended,
}


@pytest.mark.parametrize("name", CHANCES)
@pytest.mark.parametrize("layout", ["rows first", "channels last", "windows"])
def test_each_process_draws_what_one_would(name: str, layout: str) -> None:
    torch.manual_seed(0)
    times = 3 if layout == "windows" else 1
    x = torch.randn(5 * times, 4, 6, 8)
    if layout == "channels last":
        x = x.contiguous(memory_format=torch.channels_last)
    torch.manual_seed(1)
    whole = CHANCES[name](x), torch.rand(())
    for rank in (0, 1):
        own = torch.arange(rank, 5, 2)
        places = (own[:, None] * times + torch.arange(times)).flatten()
        mine = torch.empty_like(x[: len(places)]).copy_(x[places])
        torch.manual_seed(1)
        with Draws([Rows(5, own)]):
            found = CHANCES[name](mine), torch.rand(())
        assert torch.allclose(found[0], whole[0][places], atol=1e-6)
        assert found[1] == whole[1]  # and it goes on from there


def test_rows_are_known_by_their_number_and_by_how_many_sides_they_have() -> None:
    reports, words = Rows(4, torch.tensor([1, 3]), (3, 4)), Rows(6, torch.tensor([2, 5]), (2,))
    torch.manual_seed(0)
    whole = torch.randn(6, 8)
    torch.manual_seed(0)
    with Draws([reports, words]):
        assert torch.equal(torch.randn_like(torch.empty(2, 8)), whole[[2, 5]])
    torch.manual_seed(0)
    elsewhere = torch.randn(3)
    torch.manual_seed(0)
    with Draws([reports, words]):
        assert torch.equal(torch.randn_like(torch.empty(3)), elsewhere)
