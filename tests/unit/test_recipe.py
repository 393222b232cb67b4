"""Recipes: one readable file whose values are the commands' own flags."""

from pathlib import Path

import pytest
import tyro

from radlearn.cli import COMMANDS, _load
from radlearn.errors import InputError
from radlearn.recipe import arguments, read_recipe

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
ABOUT = {"cost", "expected"}

SMALL = """
title = "Small"
[about]
cost = "seconds"
[stores.a]
layout = "folder"
source = "${{SOMEWHERE}}/a"
[backbones.mrm]
stores = ["a"]
[finetune]
stores = ["a"]
lr = 0.1
[finetune.tuners.full]
lr = 0.2
[finetune.tuners.linear]
[finetune.fractions."0.5"]
steps = 7
[grid]
init = ["{init}", "scratch"]
tuner = ["full", "linear"]
fraction = [0.5, 1]
seed = [0, 1]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


def test_cells_finish_one_seed_before_the_next_and_take_their_tuners_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMEWHERE", "/data")
    recipe = read_recipe(written(tmp_path, SMALL.format(init="mrm")))
    cells = recipe.cells()
    assert len(cells) == len(set(cells)) == 16
    assert [cell.seed for cell in cells] == [0] * 8 + [1] * 8
    full = next(c for c in cells if c.tuner == "full" and c.fraction == 0.5)
    assert recipe.flags(full)["lr"] == 0.2 and recipe.flags(full)["steps"] == 7
    linear = next(c for c in cells if c.tuner == "linear" and c.fraction == 1)
    assert recipe.flags(linear)["lr"] == 0.1 and "steps" not in recipe.flags(linear)
    assert recipe.stores["a"]["source"] == "/data/a"


def test_a_recipe_that_lacks_something_says_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOMEWHERE", raising=False)
    with pytest.raises(InputError, match="SOMEWHERE"):
        read_recipe(written(tmp_path, SMALL.format(init="mrm")))
    monkeypatch.setenv("SOMEWHERE", "/data")
    with pytest.raises(InputError, match="no backbone named 'other'"):
        read_recipe(written(tmp_path, SMALL.format(init="other")))
    with pytest.raises(InputError, match="lacks 'grid'"):
        read_recipe(written(tmp_path, SMALL.format(init="mrm").split("[grid]")[0]))
    with pytest.raises(InputError, match="not TOML"):
        read_recipe(written(tmp_path, "= ="))
    with pytest.raises(InputError, match="cannot read"):
        read_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_value_of_every_recipe_is_a_flag_of_its_command(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RADLEARN_DATA", str(tmp_path))
    recipe = read_recipe(path)
    assert recipe.about.keys() >= ABOUT
    for backbone in recipe.backbones.values():
        given = dict(backbone, stores=())
        parsed(("pretrain", "store", "--run", "run"), given)
    first = (recipe.grid["seed"][0], recipe.grid["init"][0])
    for cell in (cell for cell in recipe.cells() if (cell.seed, cell.init) == first):
        parsed(("finetune", "store", "--run", "run"), dict(recipe.flags(cell), stores=()))
    for store in recipe.stores.values():
        given = {k: v for k, v in store.items() if k not in ("layout", "source", "link")}
        parsed(("prepare", store["layout"], store["source"], "store"), given)


def parsed(command: tuple[str, ...], values: dict[str, object]) -> object:
    name, *places = command
    given = arguments({key: value for key, value in values.items() if value != ()})
    config = (tyro.conf.FlagConversionOff,)
    return tyro.cli(_load(COMMANDS[name].config), args=[*places, *given], config=config)
