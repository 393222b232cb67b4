"""Recipes: one readable file whose values are the commands' own flags."""

from pathlib import Path

import pytest

from radlearn.errors import InputError
from radlearn.grids.recipe import Recipe, TranslationRecipe
from radlearn.grids.recipe_files import find_recipe, read_recipe

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


GRID = """
title = "Two data sets"
[about]
cost = "weeks"
[stores.nih]
layout = "nih"
source = "${NIH}"
[stores.rsna]
layout = "rsna"
source = "${RSNA}"
[stores.openi]
layout = "openi"
source = "${OPENI}"
[backbones.mrm]
file = "${MRM}"
[backbones.mae]
stores = ["openi"]
[finetune]
epochs = 100
lr = 0.1
[finetune.inits.mae]
optimizer = "adamw"
[finetune.inits.mrm]
optimizer = "sgd"
[finetune.data.nih]
stores = ["nih"]
[finetune.data.rsna]
stores = ["rsna"]
lr = 0.2
[finetune.tuners.lora]
[finetune.tuners.full]
[finetune.cells]
"mrm-nih-lora-1%" = { lr = 0.05, rank = 4 }
"mrm-rsna-lora-100%" = { lr = 0.01, rank = 32 }
[grid]
init = ["mrm", "mae"]
data = ["nih", "rsna"]
tuner = ["lora", "full"]
fraction = [0.01, 1.0]
seed = [0]
[tiny.about]
cost = "minutes"
[tiny.stores.nih]
layout = "folder"
source = "few"
[tiny.backbones.mrm]
stores = ["nih"]
[tiny.finetune]
steps = 3
lr = 0.7
[tiny.finetune.tuners.full]
lr = 0.8
[paper]
finding = "LoRA wins."
[[paper.scores]]
where = { data = "nih", fraction = 0.01, tuner = "lora" }
auroc = 0.806
split = "theirs"
"""


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NIH", "RSNA", "OPENI", "MRM"):
        monkeypatch.setenv(name, f"/{name}")


def grid(tmp_path: Path, *given: object, text: str = GRID) -> Recipe:
    recipe = read_recipe(written(tmp_path, text), *given)  # type: ignore[arg-type]
    assert isinstance(recipe, Recipe)
    return recipe


@pytest.mark.usefixtures("places")
def test_a_cells_own_flags_go_over_those_of_its_data_and_its_start(tmp_path: Path) -> None:
    recipe = grid(tmp_path)
    flags = {cell.name: recipe.flags(cell) for cell in recipe.cells()}
    assert len(flags) == 16
    assert flags["mrm-nih-lora-1%-seed0"] == {
        "tuner": "lora", "fraction": 0.01, "seed": 0, "epochs": 100, "lr": 0.05,
        "optimizer": "sgd", "stores": ["nih"], "rank": 4,
    }  # fmt: skip
    assert flags["mrm-rsna-lora-100%-seed0"]["lr"] == 0.01
    assert flags["mae-rsna-lora-100%-seed0"]["lr"] == 0.2
    assert flags["mae-nih-lora-1%-seed0"]["optimizer"] == "adamw"


@pytest.mark.usefixtures("places")
def test_a_flag_for_no_cell_of_the_grid_is_refused(tmp_path: Path) -> None:
    text = GRID.replace('"mrm-nih-lora-1%" =', '"mrm-nih-lora-2%" =')
    with pytest.raises(InputError, match="flags for mrm-nih-lora-2%, no cell of its grid"):
        grid(tmp_path, text=text)


def test_the_tiny_scale_is_the_same_grid_with_other_stores_backbones_and_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RSNA", "OPENI"):
        monkeypatch.setenv(name, f"/{name}")
    with pytest.raises(InputError, match=r"reads \$(NIH|MRM)"):
        grid(tmp_path)
    tiny = grid(tmp_path, "tiny")
    assert tiny.stores["nih"] == {"layout": "folder", "source": "few"}
    assert tiny.stores["rsna"]["source"] == "/RSNA"
    assert tiny.backbones["mrm"] == {"stores": ["nih"]}, "no file that is not there"
    assert tiny.about["cost"] == "minutes" and "tiny" in tiny.title
    flags = {cell.name: tiny.flags(cell) for cell in tiny.cells()}
    assert len(flags) == 16
    assert flags["mrm-nih-lora-1%-seed0"]["lr"] == 0.7, "the scale has the last word"
    assert flags["mrm-nih-full-1%-seed0"]["lr"] == 0.8
    assert {one["steps"] for one in flags.values()} == {3}
    with pytest.raises(InputError, match=r"no .tiny. table"):
        grid(tmp_path, "tiny", text=GRID.split("[tiny.about]")[0])


def test_only_some_values_of_the_grid_need_only_their_stores_and_backbones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIH", "/NIH")
    monkeypatch.setenv("MRM", "/MRM")
    some = grid(tmp_path, "paper", ("mrm", "nih", "1%"))
    assert [c.name for c in some.cells()] == ["mrm-nih-lora-1%-seed0", "mrm-nih-full-1%-seed0"]
    assert list(some.stores) == ["nih"] and list(some.backbones) == ["mrm"]
    monkeypatch.setenv("OPENI", "/OPENI")
    both = grid(tmp_path, "paper", ("nih", "mrm", "mae", "full"))
    assert len(both.cells()) == 4, "two values of one axis are either of them"
    assert set(both.stores) == {"nih", "openi"}, "those of a backbone's pretraining too"
    with pytest.raises(InputError, match=r"--only covid: .* it has mrm, mae, nih, rsna, lora"):
        grid(tmp_path, "paper", ("covid",))


@pytest.mark.usefixtures("places")
def test_the_papers_number_belongs_to_the_cells_that_it_names(tmp_path: Path) -> None:
    recipe = grid(tmp_path)
    (number,) = recipe.reported
    beside = [cell.name for cell in recipe.cells() if number.belongs_to(cell)]
    assert beside == ["mrm-nih-lora-1%-seed0", "mae-nih-lora-1%-seed0"]
    assert recipe.finding == "LoRA wins."


def test_a_mode_may_be_another_modes_host(tmp_path: Path) -> None:
    text = PAIRS.replace("[translate.modes.p2p]", '[translate.modes.unit]\nmode="c"\nhost="unit"')
    recipe = read_recipe(written(tmp_path, text.replace('"p2p"]', '"unit"]')))
    assert isinstance(recipe, TranslationRecipe)
    unit = recipe.cells()[1]
    assert unit.name.startswith("unit-as-it-is") and recipe.flags(unit)["mode"] == "c"


def test_a_name_without_a_path_is_a_recipe_of_the_package(tmp_path: Path) -> None:
    assert "title" in find_recipe("radiographs").read_text()
    assert find_recipe(str(tmp_path / "mine.toml")) == tmp_path / "mine.toml"
    with pytest.raises(InputError, match=r"called 'radiograph'; there are .*radiographs"):
        find_recipe("radiograph")
