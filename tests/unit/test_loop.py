"""The loop learns, stops between steps, and goes on with the same bits."""

import math
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from radlearn.engine.device import Compute
from radlearn.engine.folder import RunFolder, finished_run
from radlearn.engine.log import read_metrics
from radlearn.engine.loop import Best, FitConfig, Phase, fit
from radlearn.engine.state import load_state, save_state, state_files
from radlearn.errors import InputError
from radlearn.records.transforms import generator

CPU = Compute(torch.device("cpu"), bfloat16=False)


def make_batch(step: int) -> dict[str, Any]:
    rng = generator(7, step)
    x = torch.from_numpy(rng.standard_normal((8, 4), dtype="float32"))
    return {"x": x, "y": x.sum(1, keepdim=True), "ids": [f"record-{step}"]}


def train(
    path: Path,
    config: FitConfig,
    *,
    stop_at: int | None = None,
    poison: Mapping[int, float] | None = None,
    floor: float = 0.0,
    start: float | None = None,
) -> tuple[nn.Module, dict[str, float]]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    if start is not None:
        nn.init.constant_(net[0].bias, start)
    optimizer = torch.optim.AdamW(net.parameters())

    def batch(step: int) -> dict[str, Any]:
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        made = make_batch(step)
        if poison and step in poison:
            made["y"] = made["y"] * poison[step]
        return made

    def terms(batch: dict[str, Any], carry: dict[str, Any]) -> Any:
        return {"error": (net(batch["x"]) - batch["y"]).square().mean()}, carry

    def score(step: int) -> dict[str, float]:
        held = make_batch(10_000)
        return {"val_score": -float((net(held["x"]) - held["y"]).square().mean())}

    run = RunFolder.begin(path, "test", {"lr": 0.01})
    try:
        scores = fit(
            {"net": net},
            [Phase("train", optimizer, terms, floor)],
            batch,
            run=run,
            config=config,
            compute=CPU,
            schedule=lambda step: 0.01,
            evaluate=score,
            best=Best("val_score", net.state_dict, net.load_state_dict),
        )
    finally:
        run.close()
    return net, scores


def weights(net: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


CONFIG = FitConfig(steps=60, log_every=7, evaluate_every=9, save_every=25, clip=1.0)


def test_training_lowers_the_error_and_keeps_the_best_evaluation(tmp_path: Path) -> None:
    _, scores = train(tmp_path / "run", CONFIG)
    rows = read_metrics(tmp_path / "run")
    errors = [row["error"] for row in rows if "error" in row]
    assert errors[-1] < 0.5 * errors[0]
    assert scores["val_score"] == max(row["val_score"] for row in rows if "val_score" in row)


@pytest.mark.parametrize("stop_at", [1, 13, 26, 59])
def test_a_stopped_run_ends_with_the_bits_of_one_never_stopped(
    tmp_path: Path, stop_at: int
) -> None:
    whole, _ = train(tmp_path / "whole", CONFIG)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", CONFIG, stop_at=stop_at)
    resumed, _ = train(tmp_path / "stopped", CONFIG)
    assert torch.equal(weights(whole), weights(resumed))
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "stopped")]
    assert metrics[0] == metrics[1]


def test_evaluation_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    often = FitConfig(steps=20, evaluate_every=1, log_every=5, save_every=20)
    seldom = FitConfig(steps=20, evaluate_every=20, log_every=5, save_every=20)
    train(tmp_path / "often", often)
    train(tmp_path / "seldom", seldom)
    last = [load_state(tmp_path / name / "state") for name in ("often", "seldom")]
    for name, tensor in last[0]["nets"]["net"].items():
        assert torch.equal(tensor, last[1]["nets"]["net"][name])


def test_a_loss_that_is_not_finite_names_the_step_and_the_records(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no number at step 9 \(records record-8\)"):
        train(tmp_path / "run", CONFIG, poison={8: math.nan})
    assert not state_files(tmp_path / "run" / "state")


def test_a_gradient_that_explodes_names_the_step_and_keeps_the_state_before(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train exploded to a norm of .* at step 51 .*record-50"):
        train(tmp_path / "run", CONFIG, poison={50: 1e6})
    assert [file.name for file in state_files(tmp_path / "run" / "state")] == [
        "step-00000025.pt",
        "step-00000050.pt",
    ]


def test_steps_that_go_wrong_are_left_out_where_asked(tmp_path: Path) -> None:
    skip = replace(CONFIG, on_fault="skip")
    poison = {40: math.nan, 45: 1e6, 55: math.inf}
    net, scores = train(tmp_path / "whole", skip, poison=poison)
    assert weights(net).isfinite().all()
    assert math.isfinite(scores["val_score"])
    left_out = sum(row.get("skipped", 0) for row in read_metrics(tmp_path / "whole"))
    assert left_out == 3
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", skip, poison=poison, stop_at=47)
    resumed, _ = train(tmp_path / "stopped", skip, poison=poison)
    assert torch.equal(weights(net), weights(resumed))


def test_a_phase_that_has_nothing_left_to_learn_stops_training(tmp_path: Path) -> None:
    config = replace(CONFIG, log_every=3, save_every=6)
    with pytest.raises(
        InputError, match=r"train has collapsed: .* below 1000 in 5 rows up to step 15"
    ):
        train(tmp_path / "run", config, floor=1000.0)
    assert [file.name for file in state_files(tmp_path / "run" / "state")][-1] == "step-00000012.pt"
    train(tmp_path / "on", replace(config, on_fault="skip"), floor=1000.0)


def test_training_that_goes_wrong_at_every_step_stops_though_it_may_skip(tmp_path: Path) -> None:
    always = dict.fromkeys(range(10, 60), math.nan)
    with pytest.raises(InputError, match="is no number at step"):
        train(tmp_path / "run", replace(CONFIG, on_fault="skip"), poison=always)


def test_weights_that_are_no_numbers_are_not_trained_to_the_end_by_skipping(tmp_path: Path) -> None:
    short = replace(CONFIG, steps=6, on_fault="skip")
    with pytest.raises(InputError, match="weights of net are no numbers"):
        train(tmp_path / "run", short, start=math.nan)
    assert not state_files(tmp_path / "run" / "state")


def test_a_damaged_state_falls_back_to_the_one_before(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_state(tmp_path, step, {"value": torch.tensor(step)})
    assert [file.name for file in state_files(tmp_path)] == ["step-00000002.pt", "step-00000003.pt"]
    (tmp_path / "step-00000003.pt").write_bytes(b"cut short")
    with pytest.warns(UserWarning, match="state before it"):
        assert load_state(tmp_path)["step"] == 2


def test_a_state_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"step": 1, "evil": os.system}, tmp_path / "step-00000001.pt")
    with pytest.warns(UserWarning), pytest.raises(InputError, match="can be read"):
        load_state(tmp_path)


def test_a_run_refuses_other_settings_and_a_second_process(tmp_path: Path) -> None:
    run = RunFolder.begin(tmp_path / "run", "test", {"lr": 0.1})
    with pytest.raises(InputError, match="another process"):
        RunFolder.begin(tmp_path / "run", "test", {"lr": 0.1})
    run.close()
    with pytest.raises(InputError, match=r"lr = 0\.1, not 0\.2"):
        RunFolder.begin(tmp_path / "run", "test", {"lr": 0.2})


def test_an_unfinished_run_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a run"):
        finished_run(tmp_path)
    run = RunFolder.begin(tmp_path / "run", "test", {})
    with pytest.raises(InputError, match="not finished"):
        finished_run(tmp_path / "run")
    run.finish({"score": 1})
    assert finished_run(tmp_path / "run", "test")["mission"] == "test"
    with pytest.raises(InputError, match="of test, not of other"):
        finished_run(tmp_path / "run", "other")
