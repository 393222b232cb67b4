"""Recipes: one readable file whose values are the commands' own flags."""

from pathlib import Path

import pytest
import tyro

from radlearn.cli import COMMANDS, _load
from radlearn.errors import InputError
from radlearn.recipe import Recipe, TranslationRecipe, arguments, read_recipe

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

PAIRS = """
title = "Pairs"
[about]
cost = "seconds"
[prepare]
folder = "heads"
source = ["T1"]
val = 0.0
[stores.ann]
test_patients = ["ann"]
[stores.bob]
test_patients = ["bob"]
val = 0.1
[translate]
steps = 10
lr = 0.1
[translate.modes."nc+r"]
lr = 0.2
[translate.modes.p2p]
[translate.levels.as-it-is]
[translate.levels.level5]
misalign = 5
[grid]
mode = ["nc+r", "p2p"]
level = ["as-it-is", "level5"]
store = ["ann", "bob"]
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
    assert isinstance(recipe, Recipe)
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


def test_translation_does_all_modes_and_levels_of_a_patient_before_the_next(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, PAIRS))
    assert isinstance(recipe, TranslationRecipe)
    names = [cell.name for cell in recipe.cells()]
    assert names[:5] == [
        "nc+r-as-it-is-ann-seed0",
        "p2p-as-it-is-ann-seed0",
        "nc+r-level5-ann-seed0",
        "p2p-level5-ann-seed0",
        "nc+r-as-it-is-bob-seed0",
    ]
    assert names[8:] == [name.replace("seed0", "seed1") for name in names[:8]]
    assert [cell.name for cells in recipe.rounds() for cell in cells] == names
    assert [len(cells) for cells in recipe.rounds()] == [4, 4, 4, 4]


def test_a_cell_adds_its_modes_and_its_levels_flags_and_a_store_its_own(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, PAIRS))
    assert isinstance(recipe, TranslationRecipe)
    plain, moved = recipe.cells()[1], recipe.cells()[2]
    assert recipe.flags(plain) == {"mode": "p2p", "seed": 0, "steps": 10, "lr": 0.1}
    assert recipe.flags(moved) == {
        "mode": "nc+r", "seed": 0, "steps": 10, "lr": 0.2, "misalign": 5
    }  # fmt: skip
    assert recipe.stores["ann"]["folder"] == "heads" and recipe.stores["ann"]["val"] == 0.0
    assert recipe.stores["bob"] == {
        "folder": "heads", "source": ["T1"], "val": 0.1, "test_patients": ["bob"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('mode = ["nc+r", "p2p"]', 'mode = ["nc+r", "c"]', "no mode named 'c'; it has nc[+]r, p2p"),
        ('level = ["as-it-is"', 'level = ["level9"', "no level named 'level9'"),
        ('"bob"]\nseed', '"eve"]\nseed', "no store named 'eve'"),
        ("stores.bob", 'stores."../bob"', "no store named 'bob'"),
        ("seed = [0, 1]", "seed = [0, 0]", "one cell twice"),
        ("seed = [0, 1]", "seed = []", "no cell"),
        ("seed = [0, 1]", "", "lacks 'seed'"),
        ("[prepare]", "[prepared]", "lacks 'prepare'"),
        ("[translate.levels.as-it-is]\n[translate.levels.level5]", "[other]", "lacks 'levels'"),
        ("[stores.ann]", "[[stores]]", "lacks"),
    ],
)
def test_a_translation_recipe_that_is_wrong_says_where_in_one_line(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    assert old in PAIRS
    text = PAIRS.replace(old, new).replace("[stores.bob]" if new == "[[stores]]" else "\0", "[x]")
    with pytest.raises(InputError, match=told) as caught:
        read_recipe(written(tmp_path, text))
    assert "recipe.toml" in str(caught.value) and "\n" not in str(caught.value)


def test_a_name_that_leaves_its_folder_is_refused(tmp_path: Path) -> None:
    for name in ("../bob", ".bob", "bob.", "a/b", "a:b", "bob "):
        text = PAIRS.replace("stores.bob", f'stores."{name}"').replace(
            'store = ["ann", "bob"]', f'store = ["{name}"]'
        )
        with pytest.raises(InputError, match="cannot be a folder"):
            read_recipe(written(tmp_path, text))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_value_of_every_recipe_is_a_flag_of_its_command(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RADLEARN_DATA", str(tmp_path))
    recipe = read_recipe(path)
    assert recipe.about.keys() >= ABOUT
    if isinstance(recipe, TranslationRecipe):
        for store in recipe.stores.values():
            given = {k: v for k, v in store.items() if k != "folder"}
            parsed(("prepare mri-pairs", store["folder"], "store"), given)
        for cell in recipe.cells():
            parsed(("translate", "store", "--run", "run"), dict(recipe.flags(cell)))
        return
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
