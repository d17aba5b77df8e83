# make train: demo cohort -> training -> result table.   make test: lint-free set-up and all quick tests.
# make bundle: MONAI bundle with the weights of RUN (default: those of make train); CODE=1: with the code inside.
VENV ?= .venv
PYTHON ?= python3
PY := $(VENV)/bin/python
RUNS ?= runs
RUN ?= $(RUNS)/demo-seed0

.PHONY: setup train bundle ablation transfer test test-all lint types check clean

setup: $(VENV)/.done
$(VENV)/.done: setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -e ".[demo,dev]"
	touch $@

train: setup
	$(PY) -m fx_monai.apps.make_train --runs "$(RUNS)"

bundle: setup
	$(if $(filter file,$(origin RUN)),$(PY) -m fx_monai.apps.make_train --runs "$(RUNS)")
	$(PY) -m fx_monai bundle "$(RUN)/model.pt" --out dist $(if $(CODE),--code)

ablation: setup
	$(PY) -m fx_monai.apps.ablation --runs "$(RUNS)" --out docs/results/ablation.json
	$(PY) docs/make_results.py

transfer: setup
	$(PY) -m fx_monai.apps.transfer --runs "$(RUNS)" --out docs/results/transfer.json --curve docs/images/transfer.png
	$(PY) docs/make_results.py

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: setup
	$(VENV)/bin/mypy

test: setup
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal -q

test-all: setup
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal -q -m "slow or not slow"

check: lint types

clean:
	rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache
