"""These tests take what they need from the cases: they pass on others, and fail on wrong ones."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from .make_cases import MODES_MADE, write_cases

HERE = Path(__file__).parent
TESTS = ("test_mrm", "test_lora", "test_reggan", "test_schedule")
ABSENT = "test_trainable_share_of_vit_base[absent]"
MRM = "test_mrm_computes_what_the_authors_code_computes"
SPOILED = [
    ("mrm_half", ("pred",), MRM, ""),
    ("mrm_drawn", ("scalars", "report_loss_masked_tokens"), MRM, ""),
    ("mrm_drawn", ("grad_norms", "mask_token"), MRM, ""),
    ("lora_rank8", ("grad_lora_B0",), "test_lora_forward_and_gradients", ""),
    ("lora_rank8", ("sgd_losses", 3), "test_lora_sgd_steps", ""),
    ("lora_rank8", ("full_loss",), "test_plain_vit", ""),
    ("reggan_small", ("C+R", "smoothness"), "test_networks_before_the_first_step", ""),
    ("reggan_small", ("P2P", "logged", 2, "loss_G"), "test_training_steps", "-P2P"),
    ("reggan_small", ("C", "norm_after", "netG_B2A"), "test_training_steps", "-C"),
    ("reggan_small", ("NC.fake_B_after_3",), "test_training_steps", "-NC"),
    ("warmup_cosine_short", ("lr_at", 5), "test_warmup_cosine", ""),
]
"""A case, which of its expected numbers is made a little wrong, and the one test that says so."""


def spoil(folder: Path, name: str, keys: tuple[str | int, ...], copied: str) -> None:
    """Copy a case, of RegGAN the one mode, with an expected number or array a thousandth higher."""
    facts, arrays = json.loads((folder / f"{name}.json").read_text(encoding="utf-8")), {}
    if (folder / f"{name}.npz").exists():
        with np.load(folder / f"{name}.npz") as file:
            arrays = {key: file[key] for key in file.files}
    mode = str(keys[0]).split(".")[0]
    if mode in MODES_MADE:
        facts = {k: v for k, v in facts.items() if k == mode or k not in MODES_MADE}
    *outer, last = keys
    place = arrays if last in arrays else facts
    for key in outer:
        place = place[key]
    place[last] = place[last] * np.float32(1.001)
    (folder / f"{copied}.json").write_text(json.dumps(facts, default=float), encoding="utf-8")
    if arrays:
        np.savez(folder / f"{copied}.npz", **arrays)


def test_other_cases_pass_and_wrong_ones_fail(tmp_path: Path) -> None:
    write_cases(tmp_path)
    to_fail = set()
    for number, (name, keys, test, mode) in enumerate(SPOILED):
        spoil(tmp_path, name, keys, f"{name}_wrong{number}")
        to_fail.add(f"{test}[{name}_wrong{number}{mode}]")

    junit = tmp_path / "junit.xml"
    files = [HERE / f"{name}.py" for name in TESTS]
    options = ("-p", "no:cacheprovider", "-p", "no:xdist", f"--junitxml={junit}", "-m", "")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        env={**os.environ, "RADLEARN_PARITY": str(tmp_path), "OMP_NUM_THREADS": "1"},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    outcomes: dict[str, set[str]] = {}
    for found in ET.parse(junit).iter("testcase"):
        outcome = {part.tag for part in found} & {"failure", "error", "skipped"} or {"passed"}
        outcomes.setdefault(outcome.pop(), set()).add(found.attrib["name"])

    assert outcomes.keys() == {"passed", "failure", "skipped"}, ran.stdout + ran.stderr
    assert outcomes["failure"] == to_fail, ran.stdout
    assert outcomes["skipped"] == {ABSENT}
    assert len(outcomes["passed"]) > 4 * len(SPOILED)
    # the end of the run says what was compared, to what tolerance, and what was beyond it
    assert f"largest differences from {tmp_path}" in ran.stdout
    lines = ran.stdout.splitlines()
    kinds = {line.split(None, 1)[0]: line for line in lines if " NOT < " in line}
    assert kinds.keys() == {f"{case[0]}_wrong{n}" for n, case in enumerate(SPOILED)}
