# Run `make help` for the list of targets. Each target installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
.DEFAULT_GOAL := help

.PHONY: help demo quick test lint types format docs docs-test wheel clean

help:  ## List the targets.
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(READY)  ## Train the demo study and write its report.
	$(BIN)/winnow train experiment=demo

quick: $(READY) lint  ## Run the linters and the fast tests (before each commit).
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow and not network" tests

test: $(READY) lint types  ## Run the linters, the type checker and all tests, except those that need the Hub.
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(READY)  ## Check format and style.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)  ## Check the types.
	$(BIN)/mypy

format: $(READY)  ## Format the code and apply the linter's safe fixes.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY) $(VENV)/.docs-ready  ## Build the documentation site in build/docs.
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "Open build/docs/index.html"

docs-test: docs  ## Build the documentation site and check its internal links.
	$(BIN)/python -m sphinx -W --keep-going -q -b linkcheck -D linkcheck_ignore=https?://.* docs build/links

wheel: $(READY)  ## Build the wheel in dist/.
	$(BIN)/python -m build --wheel

clean:  ## Remove the environment, builds and caches.
	rm -rf $(VENV) build docs/reference dist .mypy_cache .pytest_cache .ruff_cache

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

$(VENV)/.docs-ready: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@
