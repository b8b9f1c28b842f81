# The environment, the main job and the tests; "make help" lists the targets.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:  # a .venv made only in part is made anew
.PHONY: help env train test lint types unit newest gpu-test docs constraints clean

# The first Python of 3.11 or newer; "make PYTHON=..." chooses another.
AT_LEAST_311 := -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p $(AT_LEAST_311) && { echo $$p; break; }; done)
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PINNED := --constraints constraints.txt --build-constraints constraints.txt
# A uv that runs, not just a name: version managers leave dead ones on the PATH.
UV_ON_PATH := uv --version >/dev/null 2>&1
UV = $(shell $(UV_ON_PATH) && echo uv || echo $(VENV)/bin/uv)

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

env: $(STAMP)  ## make .venv and install everything in it

train: $(STAMP)  ## run the main job; flags in ARGS="--epochs 5"
	$(PY) jobs/train.py $(ARGS)

test: lint types unit  ## all that must pass: lint, types and tests

lint: $(STAMP)  ## ruff: rules and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(STAMP)  ## mypy
	$(PY) -m mypy

unit: $(STAMP)  ## pytest in two processes, without the slow and the gpu tests; flags in ARGS="tests/maths -x"
	$(PY) -m pytest --numprocesses=2 --dist=loadscope --no-loadscope-reorder $(ARGS)

newest:  ## the tests with the newest versions that pyproject.toml admits, in .venv-newest
	rm -f .venv-newest/.installed
	$(MAKE) unit VENV=.venv-newest PINNED=--upgrade

gpu-test: $(STAMP)  ## the tests that need a GPU
	$(PY) -m pytest -m gpu $(ARGS)

docs: $(STAMP)  ## the documentation as a site, in build/site
	$(PY) -m mkdocs build

constraints: $(STAMP)  ## pin the newest versions that pyproject.toml admits
	printf 'hatchling\nhatch-fancy-pypi-readme\nuv\n' | $(UV) pip compile pyproject.toml - --extra dev --upgrade --universal \
		--python-version 3.11 --no-annotate --no-header --quiet --output-file constraints.txt

clean:  ## remove the environment and all caches; run folders stay
	rm -rf $(VENV) .venv-newest build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@"$(PYTHON)" $(AT_LEAST_311) || { echo "noprop-dist needs Python 3.11 or newer:" \
		"install it, or name one with make PYTHON=/path/to/python3.11." >&2; exit 2; }
	@$(UV_ON_PATH) || "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON)" \
		"has no venv module: install it (on Debian and Ubuntu: python3-venv) or uv." >&2; exit 2; }
	rm -rf $(VENV)
	if $(UV_ON_PATH); then uv venv --seed --python "$(PYTHON)" $(VENV); \
		else "$(PYTHON)" -m venv $(VENV); fi

# uv does not read pip's settings, so what they add to the package index makes no difference.
$(STAMP): pyproject.toml constraints.txt | $(PY)
	$(UV_ON_PATH) || test -x $(VENV)/bin/uv || \
		$(PY) -m pip install --constraint constraints.txt uv
	$(UV) pip install --python $(PY) $(PINNED) --compile-bytecode --editable '.[dev]'
	@touch $@
