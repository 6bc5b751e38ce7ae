# make train    set up if need be, then train (ARGS="task=sentiment model=small" overrides the config)
# make test     set up if need be, then run the quick tests
# make check    lint, types, quick tests, learning runs and the notebook: what CI runs
# make bench    Heed beside its peers on this CPU, within 20 minutes (ARGS="training_small --data DIR")
# make bench-gpu    the same on a CUDA GPU
# make bench-guard  measure again, and see whether a ratio fell since docs/results was written
# make faults   kill, truncate, fill and starve runs for about an hour, and count what was lost
# make setup    only make the environment

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
TESTS ?= tests
WORKERS ?= auto
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: bench bench-gpu bench-guard train test learn faults lint notebook check setup clean

train: $(INSTALLED)
	@$(BIN)/heed train $(ARGS)

test: $(INSTALLED)
	$(BIN)/python -m pytest $(TESTS) -n $(WORKERS) --dist loadfile -m "not learning and not notebook and not faults"

learn: $(INSTALLED)
	OMP_NUM_THREADS=$$(getconf _NPROCESSORS_ONLN) $(BIN)/python -m pytest $(TESTS) -m learning

faults: $(INSTALLED)
	$(BIN)/python -m pytest $(TESTS) -m faults -s

lint: $(INSTALLED_DEV)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

notebook: $(INSTALLED_DEV)
	$(BIN)/python -m pytest $(TESTS) -m notebook

check: lint test learn notebook

bench: $(INSTALLED)
	$(BIN)/python benchmarks/run.py $(ARGS)

bench-gpu: $(INSTALLED)
	$(BIN)/python benchmarks/run.py --device cuda $(ARGS)

bench-guard: $(INSTALLED)
	$(BIN)/python benchmarks/run.py --to outputs/bench $(ARGS)
	$(BIN)/python benchmarks/guard.py outputs/bench

setup: $(INSTALLED)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 10) else f"Heed needs Python 3.10 or newer, but $(PYTHON) is {v.major}.{v.minor}; type make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -q -c constraints.txt -e '.[test]'
	@touch $@

$(INSTALLED_DEV): pyproject.toml constraints.txt $(INSTALLED)
	$(PIP) install -q -c constraints.txt -e '.[test,dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache
