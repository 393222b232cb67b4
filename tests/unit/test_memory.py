"""Memory that runs out is one clear line."""

import pytest

from radlearn.cli import main

CPU = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"


@pytest.mark.parametrize("error", [RuntimeError(CPU), MemoryError()])
def test_memory_that_runs_out_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(command: str, arguments: object) -> int:
        raise error

    monkeypatch.setattr("radlearn.cli.call", fails)
    assert main(["finetune", "store", "--run", "run"]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("radlearn finetune: memory ran out; a smaller --batch")
    assert "\n" not in said


def test_any_other_error_of_torch_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(command: str, arguments: object) -> int:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr("radlearn.cli.call", fails)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        main(["finetune", "store", "--run", "run"])
