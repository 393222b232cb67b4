"""A grid of runs: in order, none twice, none that another process has in its hands."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from made_translations import PAIRS, finish, predictions

from radlearn.compare import compare
from radlearn.errors import InputError
from radlearn.files import write_json
from radlearn.grids import side_by_side as module
from radlearn.grids import table_translation
from radlearn.grids.recipe import TranslationRecipe
from radlearn.grids.recipe_files import read_recipe
from radlearn.grids.settings import CompareConfig


class Runner:
    """Stands for the commands: notes each call and leaves what a finished one leaves."""

    def __init__(self, recipe: TranslationRecipe, stops_at: int | None = None) -> None:
        self.flags = {cell.name: recipe.flags(cell) for cell in recipe.cells()}
        self.calls: list[tuple[str, ...]] = []
        self.stops_at = stops_at

    def __call__(self, command: str, given: Sequence[str]) -> int:
        self.calls.append((command, *given))
        if command == "prepare mri-pairs":
            write_json(Path(given[1]) / "store.json", {})
            return 0
        assert command == "translate"
        if len(self.runs) == self.stops_at:
            raise KeyboardInterrupt
        store, run = Path(given[0]), Path(given[given.index("--run") + 1])
        finish(run, self.flags[run.name], predictions(store.name, len(self.runs)))
        return 0

    @property
    def runs(self) -> list[str]:
        """Names of the runs, in order."""
        given = [call for call in self.calls if call[0] == "translate"]
        return [Path(call[call.index("--run") + 1]).name for call in given]


@pytest.fixture
def config(tmp_path: Path) -> CompareConfig:
    path = tmp_path / "pairs.toml"
    path.write_text(PAIRS)
    return CompareConfig(str(path), tmp_path / "out", jobs=1, resamples=50)


@pytest.fixture
def names(config: CompareConfig) -> list[str]:
    return [cell.name for cell in recipe_of(config).cells()]


def recipe_of(config: CompareConfig) -> TranslationRecipe:
    recipe = read_recipe(Path(config.recipe))
    assert isinstance(recipe, TranslationRecipe)
    return recipe


def ran(
    monkeypatch: pytest.MonkeyPatch, config: CompareConfig, stops_at: int | None = None
) -> Runner:
    runner = Runner(recipe_of(config), stops_at)
    monkeypatch.setattr(module, "call", runner)
    monkeypatch.setattr(module.gc, "collect", lambda: 0)  # half a second with torch loaded
    compare(config)
    return runner


@pytest.fixture
def no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables take longer than all else here."""

    def write(recipe: TranslationRecipe, out: Path, *_: object) -> None:
        (out / "table.md").write_text("a table")

    monkeypatch.setattr(table_translation, "write_table", write)


@pytest.mark.usefixtures("no_table")
def test_stores_come_first_and_a_cell_is_one_command(
    config: CompareConfig, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = ran(monkeypatch, config)
    stores = [str(config.out / "stores" / name) for name in ("ann", "bob")]
    assert [call[:3] for call in runner.calls[:2]] == [
        ("prepare mri-pairs", "heads", store) for store in stores
    ]
    assert runner.calls[1][3:] == ("--source", "T1", "T1b", "--test-patients", "bob")
    run = str(config.out / "runs" / names[0])
    assert runner.calls[2] == (
        "translate", stores[0], "--run", run, "--mode", "nc+r", "--seed", "0",
        "--steps", "20", "--lr", "0.2", "--misalign", "0",
    )  # fmt: skip
    assert runner.runs == names


@pytest.mark.usefixtures("no_table")
def test_what_is_finished_is_not_done_again(
    config: CompareConfig, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        ran(monkeypatch, config, stops_at=5)
    again = ran(monkeypatch, config)
    assert again.calls[0][0] == "translate", "stores are there already"
    assert again.runs == names[4:]
    assert not ran(monkeypatch, config).calls


@pytest.mark.usefixtures("no_table")
def test_a_cell_in_other_hands_is_left_to_them(
    config: CompareConfig,
    names: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    locks = config.out / ".locks"
    locks.mkdir(parents=True)
    with FileLock(locks / f"cell-{names[1]}.lock"):
        runner = ran(monkeypatch, config)
    assert runner.runs == [name for name in names if name != names[1]]
    assert f"1 of {len(names)} cells are not finished" in " ".join(capsys.readouterr().err.split())
    assert ran(monkeypatch, config).runs == [names[1]]


def test_the_table_alone_trains_nothing(
    config: CompareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = replace(config, table_only=True)
    with pytest.raises(InputError, match=r"no cell .* is finished"):
        ran(monkeypatch, only)
    with pytest.raises(KeyboardInterrupt):
        ran(monkeypatch, config, stops_at=3)
    assert not (config.out / "table.md").exists(), "a table comes with each patient"
    assert not ran(monkeypatch, only).calls
    text = (config.out / "table.md").read_text()
    assert "nc+r" in text and "level0" in text and "level5" not in text
