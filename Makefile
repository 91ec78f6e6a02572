# Every target that runs Python first makes .venv ready, once: `.venv/.ready` is newer than the pins and pyproject.toml.
# PYTHON=/path/to/python chooses the Python; ARGS="num_rounds=3" is handed to the command.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup train test test-slow lint format types check doctor pins wheel clean

# One-liners for whichever Python is at hand. The second names an installation, also from inside a virtual environment.
SUITABLE := import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 11))
IDENTITY := import sys; print(sys.version_info[:3], sys.base_prefix)
PYENV := $${PYENV_ROOT:-$$HOME/.pyenv}/versions
ifdef PYTHON
CANDIDATES := "$(PYTHON)"
NO_PYTHON := PYTHON=$(PYTHON) is no Python 3.10 or 3.11 with the venv module.
else
CANDIDATES := python3.11 python3.10 python3 python "$(PYENV)"/3.11.*/bin/python "$(PYENV)"/3.10.*/bin/python
NO_PYTHON := fedlab needs Python 3.10 or 3.11 with the venv module and found none: install one (apt install python3.11 python3.11-venv, or pyenv install 3.11), or name one with PYTHON=/path/to/python.
endif

# A .venv that no longer runs, that was moved, or that another Python made than the one asked for is made anew.
STALE := $(shell cd .venv 2>/dev/null || exit; \
	if [ -e .ready ] && { [ "$$(cat .ready)" != "$(CURDIR)" ] || ! bin/python -c '' 2>/dev/null; } || \
	   { [ -n "$(PYTHON)" ] && [ "$$("$(PYTHON)" -c '$(IDENTITY)' 2>/dev/null)" != "$$(bin/python -c '$(IDENTITY)' 2>/dev/null)" ]; }; \
	then touch .unfinished; rm -f .ready; fi)

.venv/.ready: pyproject.toml requirements/base.txt requirements/dev.txt
	@set -eu; task="Updating .venv to the pinned packages…"; \
	if [ "$$(uname -sm)" != "Linux x86_64" ]; then \
		echo "fedlab needs Linux on x86_64, which TensorFlow Federated 0.87 is built for; this is $$(uname -sm)." >&2; exit 1; fi; \
	if [ -e .venv/.unfinished ] || ! .venv/bin/python -c '$(SUITABLE)' 2>/dev/null || ! .venv/bin/python -c 'import pip' 2>/dev/null; then \
		found=; for python in $(CANDIDATES); do \
			if "$$python" -c '$(SUITABLE)' >/dev/null 2>&1; then found=$$python; break; fi; done; \
		if [ -z "$$found" ]; then echo "$(NO_PYTHON)" >&2; exit 1; fi; \
		echo "Making .venv with $$("$$found" --version) ($$found)"; \
		rm -rf .venv; mkdir .venv; touch .venv/.unfinished; "$$found" -m venv .venv; \
		task="Installing the pinned packages into .venv (a minute or two)…"; \
	fi; \
	rm -f .venv/.ready; touch .venv/.unfinished; \
	echo "$$task"; \
	.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt; \
	.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .; \
	echo "$(CURDIR)" > .venv/.ready; rm .venv/.unfinished

help: ## this list
	@awk -F ':.*## ' '/^[a-z%\/-]+:.*## / {sub("%", "NAME", $$1); printf "make %-17s %s\n", $$1, $$2}' Makefile

setup: .venv/.ready ## make .venv with the pinned packages (every other target does so when needed)

train: .venv/.ready ## train on the digits that need no download; ARGS="num_rounds=3" changes the configuration
	@.venv/bin/fedlab train +experiment=digits/fedavg $(ARGS)

experiment/%: .venv/.ready ## train one of conf/experiment/: make experiment/mnist/fedavg_iid
	@.venv/bin/fedlab train +experiment=$* $(ARGS)

investigate/%: .venv/.ready ## investigate the data of some users: make investigate/gan/debug ARGS="corruption.fraction=0,0.5"
	@.venv/bin/fedlab investigate +experiment=$* $(ARGS)

doctor: .venv/.ready ## check that this machine can train
	@.venv/bin/fedlab doctor $(ARGS)

test: .venv/.ready ## all tests but the slow ones
	.venv/bin/python -m pytest -n auto --dist loadfile $(ARGS)

test-slow: .venv/.ready ## the slow tests
	.venv/bin/python -m pytest -m slow -n auto --dist worksteal $(ARGS)

lint: .venv/.ready ## ruff
	.venv/bin/python -m ruff check .

format: .venv/.ready ## let ruff mend what it can and lay out the code
	.venv/bin/python -m ruff check --fix .
	.venv/bin/python -m ruff format .

types: .venv/.ready ## mypy
	.venv/bin/python -m mypy fedlab

check: lint types test ## lint, types, tests

pins: .venv/.ready ## write requirements/*.txt anew from pyproject.toml
	.venv/bin/python scripts/pins.py $(ARGS)

wheel: .venv/.ready ## build dist/fedlab_runner-*.whl
	.venv/bin/python -m hatchling build -t wheel

clean: ## remove what was built; .venv and outputs/ stay
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache
	find fedlab scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
