# Every target that runs Python first makes .venv ready, once: `.venv/.ready` is newer than the pins and pyproject.toml.
# PYTHON=/path/to/python chooses the Python; ARGS="num_rounds=3" is handed to the command.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup train reproduce test test-slow test-pythons lint format types check doctor pins wheel clean

# Names an installation of Python, also from inside a virtual environment
IDENTITY := import sys; print(sys.version_info[:3], sys.base_prefix)

# A .venv that no longer runs, that was moved, or that another Python made than the one asked for is made anew.
STALE := $(shell cd .venv 2>/dev/null || exit; \
	if [ -e .ready ] && { [ "$$(cat .ready)" != "$(CURDIR)" ] || ! bin/python -c '' 2>/dev/null; } || \
	   { [ -n "$(PYTHON)" ] && [ "$$("$(PYTHON)" -c '$(IDENTITY)' 2>/dev/null)" != "$$(bin/python -c '$(IDENTITY)' 2>/dev/null)" ]; }; \
	then touch .unfinished; rm -f .ready; fi)

.venv/.ready: pyproject.toml requirements/base.txt requirements/dev.txt
	@PYTHON="$(PYTHON)" scripts/setup.sh

help: ## print this list
	@awk -F ':.*## ' '/^[a-z%\/-]+:.*## / {sub("%", "NAME", $$1); printf "make %-17s %s\n", $$1, $$2}' Makefile

setup: .venv/.ready ## make .venv with the pinned packages (every other target does so when needed)

train: .venv/.ready ## train on the digits that need no download; ARGS="num_rounds=3" changes the configuration
	@.venv/bin/fedlab train +experiment=digits/fedavg $(ARGS)

experiment/%: .venv/.ready ## train one of conf/experiment/: make experiment/mnist/fedavg_iid
	@.venv/bin/fedlab train +experiment=$* $(ARGS)

investigate/%: .venv/.ready ## investigate the data of some users: make investigate/gan/debug ARGS="corruption.fraction=0,0.5"
	@.venv/bin/fedlab investigate +experiment=$* $(ARGS)

reproduce/%: .venv/.ready ## compare runs with the figures of a paper: make reproduce/mcmahan2017 ARGS="--quick"
	@.venv/bin/fedlab reproduce $* $(ARGS)

reproduce: .venv/.ready ## the same for all of conf/reproduce/, which takes hours; minutes with ARGS="--quick"
	@.venv/bin/fedlab reproduce --all $(ARGS)

doctor: .venv/.ready ## check that this machine can train
	@.venv/bin/fedlab doctor $(ARGS)

test: .venv/.ready ## run all tests except the slow ones
	.venv/bin/python -m pytest -n auto --dist loadfile $(ARGS)

test-slow: .venv/.ready ## run the slow tests
	.venv/bin/python -m pytest -m slow -n auto --dist worksteal $(ARGS)

test-pythons: .venv/.ready ## a fast part of the tests on the other Pythons that fedlab supports, where they are installed
	@scripts/test_pythons.sh

lint: .venv/.ready ## ruff
	.venv/bin/python -m ruff check .

format: .venv/.ready ## fix and format the code with ruff
	.venv/bin/python -m ruff check --fix .
	.venv/bin/python -m ruff format .

types: .venv/.ready ## mypy
	.venv/bin/python -m mypy fedlab

check: lint types test ## lint, types, tests

pins: .venv/.ready ## write requirements/*.txt from pyproject.toml
	.venv/bin/python scripts/pins.py $(ARGS)

wheel: .venv/.ready ## build dist/fedlab_runner-*.whl
	.venv/bin/python -m hatchling build -t wheel

clean: ## remove build files; .venv and outputs/ stay
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache
	find fedlab scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
