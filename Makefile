# Run `make help` for the list of targets. Each target installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEV := $(VENV)/.ready-dev
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
# The index of PyTorch's builds. For a GPU, use the index of a CUDA build (see pytorch.org).
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
.DEFAULT_GOAL := help

.PHONY: help demo quick test lint types format docs docs-test lock wheel clean

help:  ## List the targets.
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(READY)  ## Train the demo study and write its report.
	$(BIN)/winnow train experiment=demo

quick: $(DEV) lint  ## Run the linters and the fast tests (before each commit).
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow and not network" tests

test: $(DEV) lint types  ## Run the linters, the type checker and all tests, except those that need the Hub.
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(DEV)  ## Check format and style.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(DEV)  ## Check the types.
	$(BIN)/mypy

format: $(DEV)  ## Format the code and apply the linter's safe fixes.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY) $(VENV)/.docs-ready  ## Build the documentation site in build/docs.
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "Open build/docs/index.html"

docs-test: docs  ## Build the documentation site and check its internal links.
	$(BIN)/python -m sphinx -W --keep-going -q -b linkcheck -D linkcheck_ignore=https?://.* docs build/links

lock: $(READY)  ## Update the lock files from pyproject.toml and constraints.txt.
	$(PIP) uv
	$(BIN)/uv pip compile pyproject.toml --quiet --no-config --universal --generate-hashes --no-annotate \
	  --constraint constraints.txt --excludes scripts/cuda_packages.txt --no-emit-package torch \
	  --output-file requirements.lock --custom-compile-command 'make lock'
	$(BIN)/uv lock --quiet $$(sed -n 's/^\([A-Za-z].*==.*\)/--upgrade-package \1/p' constraints.txt)

wheel: $(DEV)  ## Build the wheel in dist/.
	$(BIN)/python -m build --wheel

clean:  ## Remove the environment, builds and caches.
	rm -rf $(VENV) build docs/reference dist .mypy_cache .pytest_cache .ruff_cache

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --no-deps --retries 2 --extra-index-url $(TORCH_INDEX) torch
	$(PIP) --editable .
	touch $(READY)

$(DEV): $(READY)
	$(PIP) --editable '.[dev]'
	touch $(DEV)

$(VENV)/.docs-ready: $(READY)
	$(PIP) --editable '.[docs]'
	touch $(VENV)/.docs-ready
