"""State dicts under the published names: imported with nothing left over, exported to the bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from radlearn.cli import main
from radlearn.finetuning.tuned import load_tuned
from radlearn.models.checkpoints import open_checkpoint
from radlearn.models.imported import Imported, ImportedNetworks
from radlearn.models.mrm import MRM, mask_patches
from radlearn.models.starting import start_from
from radlearn.translation.inference import load_translator

from .rules import Case, cases, largest_difference, values
from .test_mrm import BERT, config_of, images
from .test_reggan import CASES as REGGAN
from .test_reggan import CASES_AND_MODES, generator_of, setting

MRM_CASES = [
    pytest.param(*p.values, id=p.id, marks=[*p.marks, pytest.mark.slow])
    if p.values[0] and len(p.values[0].facts["state_dict"]) > 150
    else p
    for p in cases("mrm_*.json")
]
LORA_CASES = cases("lora_*.json", needs=("config", "seed", "trainable"))


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """The same names, and the same values to the bit."""
    assert found.keys() == expected.keys()
    different = [k for k in expected if not torch.equal(found[k], expected[k])]
    assert not different


def loaded(path: Path) -> Any:
    return torch.load(path, weights_only=True)


def mrm_state(case: Case) -> dict[str, Tensor]:
    state = case.weights()
    state[f"{BERT}cls.predictions.decoder.bias"] = state[f"{BERT}cls.predictions.bias"]
    return state


def heads_of(case: Case) -> tuple[object, ...]:
    config = case.config
    return (
        *("--heads", config["encoder"]["heads"]),
        *("--decoder-heads", config["image_decoder"]["heads"]),
        *("--report-heads", config["report_decoder"]["heads"]),
    )


@pytest.mark.parametrize("case", MRM_CASES)
def test_mrm(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, file, made = mrm_state(case), tmp_path / "a", tmp_path / "made"
    torch.save({"model": state}, file)
    assert run("import", file, "--out", made, *heads_of(case)) == 0
    said = capsys.readouterr().out
    assert "MRM\n" in said and "not matched     nothing" in said and "guessed" not in said
    assert run("export", made, "--to", "mrm") == 0
    assert "parity: largest difference 0 " in capsys.readouterr().out
    equal(loaded(made / "exported" / "mrm" / "MRM.pth")["model"], state)


@pytest.mark.parametrize("case", [p for p in MRM_CASES if "slow" not in str(p.marks)])
def test_an_imported_mrm_draws_what_the_authors_does(case: Case, tmp_path: Path) -> None:
    file, made = tmp_path / "a", tmp_path / "made"
    torch.save({"model": mrm_state(case)}, file)
    assert run("import", file, "--out", made, *heads_of(case)) == 0
    torch.manual_seed(1)
    model = MRM(config_of(case.config)).eval()
    start_from(made, model)
    low, _ = images(case)
    masking = mask_patches(torch.from_numpy(case.arrays["noise"]), case.config["mask_ratio"])
    with torch.no_grad():
        pred = model.image_decoder.every_patch(model.encode(low, masking), masking)
    assert largest_difference(pred, case.arrays["pred"]) < 1e-5


@pytest.mark.parametrize("encoder_alone", [False, True])
@pytest.mark.parametrize("case", MRM_CASES)
def test_mae(case: Case, encoder_alone: bool, tmp_path: Path) -> None:
    config = case.config
    shapes = {k: v for k, v in case.facts["state_dict"].items() if not k.startswith("bert_")}
    side = config["patch"] ** 2 * config["channels"]
    shapes["decoder_pred.weight"][0] = shapes["decoder_pred.bias"][0] = side
    if encoder_alone:
        shapes = {k: v for k, v in shapes.items() if not k.startswith(("decoder_", "mask_"))}
    state = {k: torch.from_numpy(values(k, v, case.seed)) for k, v in shapes.items()}
    file, made = tmp_path / "a", tmp_path / "made"
    torch.save({"model": state, "optimizer": {"state": {}}, "epoch": 800}, file)
    found = open_checkpoint(file, config["encoder"]["heads"])
    assert isinstance(found, Imported)
    assert (found.kind, found.unmatched, found.kept) == ("MAE", (), {})
    assert run("import", file, "--out", made, *heads_of(case)[:4]) == 0
    assert run("export", made, "--to", "mae") == 0
    equal(loaded(made / "exported" / "mae" / "MAE.pth")["model"], state)


def summed(case: Case) -> dict[str, Tensor]:
    """The file as loralib's layers save it in evaluation: the update in the weight, and beside."""
    state, width = case.weights(), case.config["dim"]
    rank = case.config["rank"]
    for name in [k for k in state if k.endswith("lora_A")]:
        A, B = state[name], state[name.replace("lora_A", "lora_B")]
        weight = state[name.replace("lora_A", "weight")]
        scale = case.config["lora_alpha"] / rank
        weight[:width] += scale * B[:width] @ A[:rank]
        weight[2 * width :] += scale * B[width:] @ A[rank:]
    return state


def fused(state: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    """The same LoRA as one on query, key and value: rank 2r, the key's rows zero."""
    changed = dict(state)
    for name in [k for k in state if k.endswith("lora_B")]:
        query, value = state[name].chunk(2)
        B = torch.zeros(3 * len(query), 2 * rank)
        B[: len(query), :rank], B[2 * len(query) :, rank:] = query, value
        changed[name] = B
    return changed


@pytest.mark.parametrize("way", ["beside", "merged", "merged by base", "fused"])
@pytest.mark.parametrize("case", LORA_CASES)
def test_medpeft_lora(case: Case, way: str, tmp_path: Path) -> None:
    state, given, base = case.weights(), case.weights(), tmp_path / "base"
    more: tuple[object, ...] = ()
    if way.startswith("merged"):
        given = summed(case)
        more = ("--merged", True)
    if way == "merged by base":
        torch.save({k: v for k, v in state.items() if ".lora_" not in k}, base)
        more = ("--base", base)
    if way == "fused":
        given = fused(state, case.config["rank"])
    file, made = tmp_path / "a", tmp_path / "made"
    torch.save({"model": given, "epoch": 99}, file)
    heads = ("--heads", case.config["heads"], "--alpha", case.config["lora_alpha"])
    assert run("import", file, "--out", made, *heads, *more) == 0

    tuned = load_tuned(made)
    with torch.no_grad():
        logits = tuned.model(torch.from_numpy(case.arrays["x"]))
    assert largest_difference(logits, case.arrays["logits"]) < 1e-5
    assert run("export", made, "--to", "medpeft") == 0
    exported = loaded(made / "exported" / "medpeft" / "LoRA.pth")["model"]
    equal(exported, state if way == "fused" else given)
    assert run("export", made, "--to", "peft") == run("export", made, "--to", "timm") == 0


@pytest.mark.parametrize("case", LORA_CASES)
def test_medpeft_fully_fine_tuned(case: Case, tmp_path: Path) -> None:
    state, file, made = case.weights("full_state_dict"), tmp_path / "a", tmp_path / "made"
    torch.save({"model": state}, file)
    assert run("import", file, "--out", made, "--heads", case.config["heads"]) == 0
    with torch.no_grad():
        logits = load_tuned(made).model(torch.from_numpy(case.arrays["x"]))
    assert largest_difference(logits, case.arrays["full_logits"]) < 1e-5
    assert run("export", made, "--to", "medpeft") == 0
    equal(loaded(made / "exported" / "medpeft" / "FFT.pth")["model"], state)


def reggan_states(case: Case, mode: str) -> dict[str, dict[str, Tensor]]:
    return {
        name: {k: torch.from_numpy(values(f"{name}.{k}", v, case.seed)) for k, v in shapes.items()}
        for name, shapes in case.facts[mode]["state_dict"].items()
    }


@pytest.mark.parametrize(("case", "mode"), CASES_AND_MODES)
def test_reggan(case: Case, mode: str, tmp_path: Path) -> None:
    """Each network alone is known; all of them in one file go in and out again."""
    states = reggan_states(case, mode)
    for name, state in states.items():
        torch.save(state, tmp_path / "alone")
        found = open_checkpoint(tmp_path / "alone")
        assert isinstance(found, ImportedNetworks)
        (network,) = found.networks.values()
        equal(network.state, state)
        assert network.parameters == case.facts[mode]["parameters"][name]
    if mode not in ("NC", "C+R"):  # the smallest and the whole set stand for the others
        return
    flat = {f"{name}.{k}": v for name, state in states.items() for k, v in state.items()}
    torch.save(flat if mode == "NC" else states, tmp_path / "all")
    made, size = tmp_path / "made", setting(case, "size")
    assert run("import", tmp_path / "all", "--out", made, "--size", size) == 0
    assert run("export", made, "--to", "reggan") == 0
    folder = made / "exported" / "reggan"
    assert {p.stem for p in folder.glob("*.pth")} == states.keys()
    for name, state in states.items():
        equal(loaded(folder / f"{name}.pth"), state)


@pytest.mark.parametrize("case", REGGAN)
def test_an_imported_generator_translates_and_r_registers(case: Case, tmp_path: Path) -> None:
    states = reggan_states(case, "NC+R")
    for name in ("netG_A2B", "R_A"):
        torch.save(states[name], tmp_path / name)
    made, size = tmp_path / "made", setting(case, "size")
    both = (tmp_path / "netG_A2B", "--registration", tmp_path / "R_A")
    assert run("import", *both, "--out", made, "--size", size) == 0
    translator = load_translator(made)
    slices = torch.rand(1, 1, size, size) * 2 - 1
    direct = generator_of(case.facts["NC+R"]["state_dict"]["netG_A2B"])
    direct.load_state_dict(states["netG_A2B"])
    with torch.no_grad():
        expected = direct.eval()(slices)
    found = translator.translate(slices.numpy())
    assert largest_difference(found, expected) < 1e-5
    assert translator.register(found, slices.numpy())[0].shape == (2, 1, size, size)
