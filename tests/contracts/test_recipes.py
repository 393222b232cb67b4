"""Every recipe: it says what it is, its values are flags, and it runs at full size on fake data."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tyro
from tokenizers import Tokenizer, models, pre_tokenizers

from data.fakes import dicom, picture, write
from radlearn.cli import COMMANDS, call, load
from radlearn.compare import _task, make_backbones
from radlearn.datasets import chexpert, nih
from radlearn.grids.recipe import AnyRecipe, Recipe, TranslationRecipe, arguments
from radlearn.grids.recipe_files import read_recipe, shipped
from radlearn.grids.stand_ins import STAND_INS
from radlearn.models.mrm import MRM, SIZES
from radlearn.records.phantom_heads import write_heads

RECIPES = sorted(shipped().glob("*.toml"))
PAPERS = [path for path in RECIPES if "${RADLEARN_DATA}" not in path.read_text().split("[tiny")[0]]
ABOUT = {"papers", "data", "cost", "expected", "source", "split"}
BOTH = [(path, scale) for path in RECIPES for scale in ("paper", "tiny")]
PLACES = (
    *("NIH", "CHEXPERT", "MEDPEFT_CHEXPERT", "RSNA", "MEDPEFT_RSNA", "COVID", "MIMIC", "BRATS"),
    *("MRM", "CXR_MAE", "MAE", "MRM_WORDPIECE", "RADLEARN_DATA", "SIIM"),
)


def scales(path: Path) -> tuple[str, ...]:
    return ("paper", "tiny") if "tiny" in tomllib.loads(path.read_text()) else ("paper",)


def name_of(value: Any) -> str:
    return value.stem if isinstance(value, Path) else str(value)


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_a_recipe_says_where_it_comes_from(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for place in PLACES:
        monkeypatch.setenv(place, str(tmp_path))
    for scale in scales(path):
        recipe = read_recipe(path, scale)  # type: ignore[arg-type]
        assert recipe.about.keys() >= ABOUT
        assert all(isinstance(value, str) and value for value in recipe.about.values())
    if path in PAPERS:
        assert "tiny" in scales(path), "the same grid has to run on what data there is"
        assert "chosen" in recipe.about, "say what the authors did not publish"


@pytest.mark.parametrize(("path", "scale"), BOTH, ids=name_of)
def test_every_value_of_every_recipe_is_a_flag_of_its_command(
    path: Path, scale: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if scale not in scales(path):
        pytest.skip(f"{path.stem} has one scale")
    (tmp_path / "nih").mkdir()  # a folder of images has to be there
    for place in PLACES:
        monkeypatch.setenv(place, str(tmp_path))
    recipe = read_recipe(path, scale)  # type: ignore[arg-type]
    for store in recipe.stores.values():
        if isinstance(recipe, TranslationRecipe):
            given = without(store, "folder")
            parsed("prepare mri-pairs", [store["folder"], "store"], given)
        else:
            assert store.get("stand_in", {}).get("kind", "rsna") in STAND_INS
            given = without(store, "layout", "source", "link", "stand_in")
            parsed("prepare", [store["layout"], store.get("source", "made"), "store"], given)
    for backbone in recipe.backbones.values() if isinstance(recipe, Recipe) else ():
        if "file" in backbone:
            parsed("import", [backbone["file"], "--out", "folder"], without(backbone, "file"))
        else:
            parsed("pretrain", ["store", "--run", "run"], without(backbone, "stores"))
    for cell in recipe.cells():
        task = _task(recipe, tmp_path, cell)
        parsed(task.command, list(task.arguments), {})


def without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def parsed(command: str, places: list[str], values: dict[str, Any]) -> object:
    config = (tyro.conf.FlagConversionOff,)
    given = [*places, *arguments(values)]
    return tyro.cli(load(COMMANDS[command].config), args=given, config=config)


def test_every_folder_of_the_package_is_installed() -> None:
    root = Path(__file__).resolve().parents[2]
    told = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {f"radlearn.{path.parent.name}" for path in root.glob("src/radlearn/*/__init__.py")}
    assert set(told) == {"radlearn", "radlearn.recipes", *folders}


def test_medpeft_is_the_papers_eighteen_tasks_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in PLACES:
        monkeypatch.setenv(place, "somewhere")
    recipe = read_recipe(shipped() / "medpeft.toml")
    assert isinstance(recipe, Recipe)
    flags = {cell.setting: recipe.flags(cell) for cell in recipe.cells()}
    assert len(flags) == 36
    shares = ("1%", "10%", "100%")
    ranks = [[flags[f"mrm-{d}-lora-{s}"]["rank"] for s in shares] for d in recipe.grid["data"]]
    assert ranks == [[4, 8, 32], [4, 16, 32], [4, 32, 32]]
    for name, chosen in flags.items():
        assert chosen["optimizer"] == ("sgd" if name.startswith("mrm") else "adamw")
        assert chosen["warmup"] * chosen["epochs"] == pytest.approx(5), "epochs of warm-up"


# at full size


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the size of those that were published, freshly drawn."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    encoder = MRM(SIZES["base"]).encoder.state_dict()
    torch.save({"model": encoder}, folder / "encoder.pth")
    words = ["[PAD]", "[UNK]", "[CLS]", "[MASK]", "no", "acute", "process"]
    whole = {word: number for number, word in enumerate(words)}
    whole |= {f"word{number}": number for number in range(len(words), 30_000)}
    tokenizer = Tokenizer(models.WordPiece(whole, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "wordpiece.json"))
    return folder


@pytest.fixture
def everything(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake data in each source's own layout, a few images a split, both classes of each label."""
    places = {name: tmp_path / "sources" / name.lower() for name in PLACES}
    makers = {"NIH": fake_nih, "CHEXPERT": fake_chexpert, "RSNA": fake_rsna}
    makers |= {"COVID": fake_covid, "MIMIC": fake_mimic, "BRATS": fake_brats, "SIIM": fake_siim}
    for name, maker in makers.items():
        maker(places[name])
    places["MEDPEFT_CHEXPERT"] = places["CHEXPERT"] / "lists"
    places["MEDPEFT_RSNA"] = places["RSNA"] / "lists"
    places |= dict.fromkeys(("MRM", "CXR_MAE", "MAE"), weights / "encoder.pth")
    places["MRM_WORDPIECE"] = weights / "wordpiece.json"
    for name, place in places.items():
        monkeypatch.setenv(name, str(place))


PARTS = {"train": range(4), "val": range(4, 6), "test": range(6, 8)}


def bits(number: int, count: int) -> list[int]:
    """Labels: every other record has all of them."""
    return [number % 2] * count


def fake_nih(root: Path) -> None:
    names = [f"{n + 1:08d}_000.png" for n in range(8)]
    rows = ["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender"]
    for n, name in enumerate(names):
        picture(root / "images_001" / "images" / name, side=64)
        findings = "|".join(nih.LABELS) if n % 2 else nih.NO_FINDING
        rows.append(f"{name},{findings},0,{n + 1},50,F")
    write(root / "Data_Entry_2017.csv", rows)
    for part, numbers in PARTS.items():
        lines = [f"{names[n]} {' '.join(map(str, bits(n, 14)))}" for n in numbers]
        write(root / f"medpeft_{part}_list.txt", lines)


def fake_chexpert(root: Path) -> None:
    for part, numbers in PARTS.items():
        lines = []
        for n in numbers:
            place = f"CheXpert-v1.0-small/train/patient{n + 1:05d}/study1/view1_frontal.jpg"
            picture(root / place, side=64)
            labels = bits(n, len(chexpert.COMPETITION))
            lines.append(f"{place} {' '.join(map(str, labels))}")
        write(root / "lists" / f"CheXpert_{part}_list.txt", lines)


def fake_rsna(root: Path) -> None:
    for part, numbers in PARTS.items():
        lines = []
        for n in numbers:
            dicom(root / "stage_2_train_images" / f"exam-{n}.dcm", rows=64, columns=64)
            lines.append(f"stage_2_train_images/exam-{n}.dcm {n % 2} ")
        write(root / "lists" / f"RSNA_Pneumonia_{part}_list.txt", lines)


def fake_covid(root: Path) -> None:
    rows = ["patientid,filename,finding,modality,view,clinical_notes"]
    for n in range(8):
        picture(root / "images" / f"{n}.jpg", side=64)
        finding = "Pneumonia/Viral/COVID-19" if n % 2 else "Pneumonia/Bacterial"
        rows.append(f"{n},{n}.jpg,{finding},X-ray,PA,")
    write(root / "metadata.csv", rows)
    for task in ("covid", "viral"):
        for fold in range(1, 6):
            for part, numbers in PARTS.items():
                lines = [f"{n}.jpg {n % 2}" for n in numbers]
                folder = root / "mrm_splits" / f"{task}{fold}"
                write(folder / f"is{task}_{part}.txt", lines)


def fake_siim(root: Path) -> None:
    rows = ["ImageId, EncodedPixels"]
    for n in range(8):
        dicom(root / "dicom-images-train" / f"1.2.{n}.dcm", patient=f"p-{n}", rows=64, columns=64)
        rows.append(f"1.2.{n},{200 + 60 * n} 30 34 30")
    write(root / "train-rle.csv", rows)
    for part, numbers in PARTS.items():
        write(root / "mrm_splits" / f"{part}_list.txt", [f"1.2.{n}" for n in numbers])


def fake_mimic(root: Path) -> None:
    rows = ["image_path,report_content"]
    for n in range(4):
        place = f"files/p10/p1000000{n}/s5000000{n}/image.jpg"
        picture(root / place, side=64)
        rows.append(f"{place},no acute process")
    write(root / "training.csv", rows)


def fake_brats(root: Path) -> None:
    made = root.parent / "heads"
    write_heads(made, 3, 64, 0)  # of 256 px, enough foreground in some slices and not in many
    for exam in sorted(path for path in made.iterdir() if path.is_dir()):
        for path in exam.iterdir():
            kind = path.name.split(".")[0].lower()
            target = root / exam.name / f"{exam.name}_{kind}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)


FEWEST: dict[str, dict[str, Any]] = {
    "finetune": {"steps": 2, "batch": 1, "evaluations": 1, "device": "cpu"},
    "translate": {"steps": 2, "batch": 1, "evaluations": 1, "device": "cpu"},
}


def one_of_each(recipe: AnyRecipe) -> list[Any]:
    """Cells until every mode, or start with each tuner, and every data set was there."""
    chosen, seen = [], set()
    for cell in recipe.cells():
        if isinstance(recipe, TranslationRecipe):
            new = {cell.mode}
        else:
            new = {(cell.init, cell.tuner), cell.data.split("-")[0]}
        if new - seen:
            chosen.append(cell)
        seen |= new
    return chosen


@pytest.mark.slow
@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("path", PAPERS, ids=name_of)
def test_two_steps_of_the_full_size_on_fake_data_of_the_real_layout(
    path: Path, tmp_path: Path
) -> None:
    recipe, out = read_recipe(path), tmp_path / "out"
    for values in recipe.backbones.values() if isinstance(recipe, Recipe) else ():
        if "file" not in values:
            values |= {"epochs": 0.5, "batch": 1, "device": "cpu"}
    make_backbones(recipe, out)
    for name in recipe.backbones if isinstance(recipe, Recipe) else ():
        config = json.loads((out / "backbones" / name / "config.json").read_text())
        assert "vit_base_patch16_224" in json.dumps(config) or config["model"] == "base"
    for cell in one_of_each(recipe):
        task = _task(recipe, out, cell)
        fewer = arguments(FEWEST[task.command])
        assert call(task.command, [*task.arguments, *fewer]) == 0
        results = json.loads((task.run / "results.json").read_text())
        assert results["finished"] and results["steps"] == 2
        rows = [json.loads(row) for row in (task.run / "metrics.jsonl").read_text().splitlines()]
        values = [v for row in rows for k, v in row.items() if k in ("classification", "total")]
        assert all(np.isfinite(value) for value in values)
