"""Two processes train as one: the same losses, one set of files, and a stop that is agreed upon."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser

from e2e.conftest import run
from radlearn.cli import COMMANDS, load
from radlearn.engine.log import read_metrics
from radlearn.files import read_json
from radlearn.usage import usage

ROOT = Path(__file__).resolve().parents[2]
EXACT = ("--precision", "float32", "--device", "cpu")
NEAR = 1e-5
SMALL = ("--model", "tiny", "--image-size", 32, "--patch", 8, "--words", 200)
STEPS = 20

# Adam's first steps are as long whether a gradient is large or nothing but rounding. Networks that
# learn from each other make ten times as much of it at every step, so theirs are short here.
GENTLY = ("--size", "tiny", "--lr", 1e-6)

# Batches of 5 are shared out as 3 and 2; of a batch of 1 the second process has nothing.
QUICK: dict[str, tuple[object, ...]] = {
    "mrm": ("pretrain", "store", "--batch", 5, "--epochs", 0.8, *SMALL),
    "lora": ("finetune", "store", "--init", "backbone", "--steps", STEPS, "--batch", 5),
    "lora-alone": ("finetune", "store", "--init", "backbone", "--steps", 3, "--batch", 1),
    "nc+r": ("translate", "pairs", *GENTLY, "--mode", "nc+r", "--steps", 5, "--batch", 3),
}
_FINETUNE = ("finetune", "store", "--init", "backbone", "--steps", 6, "--batch")
_MASKS = ("--task", "segmentation", "--decoder-width", 16)
_TRANSLATE = ("translate", "pairs", *GENTLY, "--steps", 6, "--batch")
THOROUGH: dict[str, tuple[object, ...]] = {
    "mrm-alone": ("pretrain", "store", "--batch", 1, "--epochs", 0.1, *SMALL),
    "mrm-every-word": (*QUICK["mrm"], "--report-loss", "all"),
    "image": (*QUICK["mrm"], "--objective", "image"),
    "report": (*QUICK["mrm"], "--objective", "report"),
    "full": (*_FINETUNE, 8, "--tuner", "full", "--lr", 1e-4),
    "linear": (*_FINETUNE, 8, "--tuner", "linear"),
    "adalora": (*_FINETUNE, 5, "--tuner", "adalora"),
    "segmentation": (*_FINETUNE, 5, *_MASKS, "--tuner", "full", "--lr", 1e-4),
    "segmentation-lora": (*_FINETUNE, 4, *_MASKS),
    "c+r": (*_TRANSLATE, 3, "--mode", "c+r", "--misalign", 3),
    "c-alone": (*_TRANSLATE, 1, "--mode", "c"),
    "pool": ("translate", "pairs", *GENTLY, "--steps", 8, "--batch", 16, "--mode", "nc"),
    "p2p": (*_TRANSLATE, 3, "--mode", "p2p"),
    "munit": (*_TRANSLATE, 3, "--mode", "c+r", "--host", "munit"),
    "unit": (*_TRANSLATE, 3, "--mode", "c", "--host", "unit"),
    "nicegan": (*_TRANSLATE, 2, "--mode", "c", "--host", "nicegan"),
}
SHARDED = ("mrm", "lora", "full", "segmentation")


def command(lab: Path, folder: Path, told: tuple[object, ...]) -> list[str]:
    places = {name: lab / name for name in ("store", "backbone", "pairs")}
    return [str(places.get(str(one), one)) for one in (*told, *EXACT, "--run", folder)]


def launcher(by: str) -> list[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    if by == "torchrun":
        words = ["torch.distributed.run", "--nproc-per-node", "2", "--master-port", port]
    else:
        words = ["accelerate.commands.launch", by, "--num_processes", "2"]
        words += ["--main_process_port", port]
    return [sys.executable, "-m", *words]


def launched(
    lab: Path, folder: Path, cases: Mapping[str, tuple[object, ...]], by: str, *words: str
) -> None:
    """All cases by two processes that are launched once; each run in `folder` / its name.

    Without a launcher, by one.
    """
    commands = [command(lab, folder / name, told) for name, told in cases.items()]
    (folder / "commands.json").write_text(json.dumps(commands))
    script = Path(__file__).with_name("several.py")
    found = subprocess.run(
        [*(launcher(by) if by else [sys.executable]), script, folder / "commands.json", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert found.returncode == 0, found.stderr[-3000:]


def furthest(one: Path, two: Path) -> float:
    """The largest difference of any number of two runs' metrics."""
    rows = read_metrics(one), read_metrics(two)
    assert rows[0] and len(rows[0]) == len(rows[1])
    differences = []
    for a, b in zip(*rows, strict=True):
        assert a.keys() == b.keys() and a["step"] == b["step"]
        differences += [abs(a[name] - b[name]) for name in a if a[name] is not None]
    return max(differences)


def agree(lab: Path, folder: Path, cases: Mapping[str, tuple[object, ...]], by: str) -> None:
    launched(lab, folder, cases, by)
    for name, told in cases.items():
        alone = folder / f"{name}-by-one"
        assert run(*command(lab, alone, told)) == 0
        difference = furthest(alone, folder / name)
        print(f"{name}: {difference:.1e}")
        assert difference < NEAR, name
        results = [read_json(at / "results.json", "a run") for at in (alone, folder / name)]
        assert results[0].get("records") == results[1].get("records")
        files = [{f.name for f in at.iterdir()} for at in (alone, folder / name)]
        assert files[0] == files[1] and "report.html" in files[0]


@pytest.fixture(scope="module")
def by_two(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes made `QUICK`, next to one that did."""
    folder = tmp_path_factory.mktemp("by_two")
    agree(lab, folder, QUICK, "--multi_gpu")
    return folder


def test_two_processes_give_the_losses_of_one(by_two: Path) -> None:
    scored = [row["val_auroc"] for row in read_metrics(by_two / "lora") if "val_auroc" in row]
    alone = [row["val_auroc"] for row in read_metrics(by_two / "lora-by-one") if "val_auroc" in row]
    assert scored == alone


def test_two_processes_that_are_stopped_go_on_with_the_same_bits(
    lab: Path, by_two: Path, tmp_path: Path
) -> None:
    stopped = tmp_path / "lora"
    call = [*launcher("--multi_gpu"), "-m", "radlearn.cli", *command(lab, stopped, QUICK["lora"])]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(call, env=environment, stderr=subprocess.PIPE)
    rows, until = stopped / "metrics.jsonl", time.monotonic() + 300
    while not rows.exists() or len(rows.read_bytes().splitlines()) < STEPS // 4:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert not (stopped / "results.json").exists(), "it ended before it was stopped"
    assert len(list((stopped / "state").glob("step-*.pt"))) == 1
    whole = by_two / "lora"
    launched(lab, tmp_path, {"lora": QUICK["lora"]}, "torchrun")
    for file in [whole / "metrics.jsonl", *whole.glob("model/**/*.safetensors")]:
        assert (stopped / file.relative_to(whole)).read_bytes() == file.read_bytes(), file.name


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_every_mission_and_host(lab: Path, tmp_path: Path, part: int) -> None:
    cases = {name: told for at, (name, told) in enumerate(THOROUGH.items()) if at % 4 == part}
    agree(lab, tmp_path, cases, "torchrun")


@pytest.mark.slow
def test_what_differs_is_rounding(lab: Path, tmp_path: Path) -> None:
    steps = ("--steps", 12, "--batch", 5, "--evaluations", 1, "--average", 0)
    cases = {"cycle": ("translate", "pairs", "--mode", "c", "--size", "tiny", *steps)}
    folders = [tmp_path / by for by in ("one", "two")]
    for folder, by in zip(folders, ("", "torchrun"), strict=True):
        folder.mkdir()
        launched(lab, folder, cases, by, "double")
    assert furthest(folders[0] / "cycle", folders[1] / "cycle") < 1e-10


@pytest.mark.slow
def test_weights_that_are_spread_give_the_same_losses(lab: Path, tmp_path: Path) -> None:
    cases = {name: told for name, told in (QUICK | THOROUGH).items() if name in SHARDED}
    agree(lab, tmp_path, cases, "--use_fsdp")


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(lab: Path, tmp_path: Path) -> None:
    told, alone = QUICK["lora"], tmp_path / "lora-by-one"
    assert run(*command(lab, alone, told)) == 0
    begun = [sys.executable, "-m", "radlearn.cli", *command(lab, tmp_path / "lora", told)]
    process = subprocess.Popen(begun, stderr=subprocess.PIPE)
    rows, until = tmp_path / "lora" / "metrics.jsonl", time.monotonic() + 300
    while not rows.exists() or len(rows.read_bytes().splitlines()) < STEPS // 4:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    launched(lab, tmp_path, {"lora": told}, "--use_fsdp")
    assert furthest(alone, tmp_path / "lora") < NEAR


@pytest.mark.slow
def test_what_is_wrong_is_said_once(lab: Path, tmp_path: Path) -> None:
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "thesis.txt").touch()
    call = [*launcher("torchrun"), "-m", "--", "radlearn.cli"]
    call += command(lab, tmp_path / "lora", QUICK["lora"])
    found = subprocess.run(call, capture_output=True, text=True, timeout=600)
    assert found.returncode
    assert found.stderr.count("is not a run; choose another folder") == 1


def shown() -> list[str]:
    """Every command of docs/scale.md that is launched."""
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith(("accelerate launch", "torchrun"))]


@pytest.mark.parametrize("line", shown())
def test_launches_shown_are_understood(line: str) -> None:
    words = shlex.split(line)
    accelerate = words[0] == "accelerate"
    parser = launch_command_parser() if accelerate else get_args_parser()
    found = parser.parse_args(words[2:] if accelerate else words[1:])
    assert found.module and found.training_script == "radlearn.cli"
    mission, *flags = found.training_script_args
    known = set(re.findall(r"--[\w.-]+", usage(mission, load(COMMANDS[mission].config))))
    assert {flag for flag in flags if flag.startswith("--")} <= known
