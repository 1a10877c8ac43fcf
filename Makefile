# `make` alone lists the targets. Every target first sets up what it needs in .venv.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup lock demo test check fmt docs browser gpu bench build clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(STAMP)  ## create .venv with the versions and hashes of requirements.lock

# Every package but torch is checked against its hash. torch comes last and by its exact pin: each of its
# builds has other files, and brings its own CUDA packages or, where pip knows of a CPU build, none.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
$(STAMP): pyproject.toml constraints.txt requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --no-deps --require-hashes --requirement requirements.lock
	$(PIP) --constraint constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(PIP) --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check
	touch $@

lock:  ## write requirements.lock again, after a change of pyproject.toml or constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --constraint constraints.txt uv
	$(BIN)/python tools/lock.py

demo: setup  ## run every step on the built-in world: clips -> features -> heads -> a table
	HF_HUB_OFFLINE=1 $(BIN)/actiondiff demo --out demo

test: setup  ## the tests (CPU, no network)
	HF_HUB_OFFLINE=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2

check: setup  ## format, lint, types, import layers, structure
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/check_structure.py

fmt: setup  ## format the code, and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup  ## build the site into site/, and test the commands and examples of the docs
	$(BIN)/mkdocs build --quiet --strict
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest tests/docs

browser: setup  ## the tests of the page of actiondiff app, in Chromium
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m browser tests/browser

gpu: setup  ## the tests that need a CUDA device; skipped where there is none
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m gpu tests/gpu

bench: setup  ## run the benchmarks (minutes)
	$(BIN)/python benchmarks/full_size.py
	@echo "parity.py and full_size_checkpoint.py need files of your own: see the top of each script."

build: setup  ## wheel and source distribution in dist/
	$(BIN)/python -m build --no-isolation

clean:  ## remove everything that the targets above made
	rm -rf .venv build dist demo site .pytest_cache .mypy_cache .ruff_cache
