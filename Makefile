# `make demo` and `make test` each do everything on a machine with Python ≥ 3.11 and make.
PYTHON ?= python3
MINUTES ?= 5
SEED ?= 0
BIN = .venv/bin

.PHONY: demo test lint install bench clean

demo: .venv/installed
	$(BIN)/garl demo --minutes $(MINUTES) --seed $(SEED)

test: .venv/tested lint
	$(BIN)/python -m pytest -n 2 --durations 10

lint: .venv/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: .venv/installed

bench: .venv/installed
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/cycle.py

# torch first, and pinned: where the index offers a build for the CPU, the rest must not replace it.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("garl needs Python 3.11 or newer: set PYTHON=") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

.venv/tested: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
