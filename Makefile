# Two commands on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# A test may take some gigabytes: a worker a core, but not 64.
TESTS = $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8

.PHONY: install quickstart test test-all lint docs results clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test,analysis,lint]'
	touch $@

quickstart: install
	$(BIN)/python tools/quickstart.py

test: install
	$(TESTS)

test-all: install
	$(TESTS) -m 'slow or not slow'

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# The study's tables, again from its records.
results: install
	$(BIN)/python tools/collect.py results/cifar100_small --no-published --out results/cifar100_small/tables.md
	for part in choice study; do \
	  $(BIN)/python tools/collect.py results/cifar100_small/$$part --no-published --out results/cifar100_small/$$part.html || exit; \
	done
	$(BIN)/python tools/collect.py results/cifar100_small_weight_margin --no-published --out results/cifar100_small_weight_margin/tables.md
	$(BIN)/python tools/collect.py results/cifar100_full --out results/cifar100_full/tables.md

docs: install
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) output teachers site
