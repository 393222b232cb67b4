PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test slow check bench clean

demo: $(READY)
	$(BIN)/radlearn demo --out demo

test: $(READY)
	$(BIN)/pytest -n 2 --dist loadfile

slow: $(READY)
	$(BIN)/pytest -m slow

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

bench: $(READY)
	$(BIN)/radlearn bench --baseline True

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache
