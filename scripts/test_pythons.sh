#!/usr/bin/env bash
# Runs a fast part of the tests on each Python that fedlab supports, where this machine has it, but for that of .venv.
# Needs .venv (`make setup`), whose uv installs the same pinned packages. Which registry is asked, uv's environment says.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
unset PYTHONPATH VIRTUAL_ENV
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What differs between Pythons: annotations that pydantic evaluates, pins, the standard library; and one federation to its end
FAST=(tests/test_architecture.py tests/archive tests/cohort tests/corruption tests/data tests/filter tests/partition
    tests/scripts/test_pins.py tests/cli/test_cli_errors.py tests/aggregation/test_contract.py tests/run/test_train.py)

version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

own=$(version .venv/bin/python)
for wanted in 3.10 3.11; do
    if [ "$wanted" = "$own" ]; then continue; fi
    python=
    for candidate in "python$wanted" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$wanted".*/bin/python; do
        if [ "$(version "$candidate" 2>/dev/null)" = "$wanted" ]; then python=$candidate; break; fi
    done
    if [ -z "$python" ]; then echo "Python $wanted: not on this machine, not tested"; continue; fi
    echo "== Python $wanted ($python)"
    .venv/bin/uv venv --quiet --seed --python "$python" "$work/$wanted"
    # Elsewhere, because uv would read pyproject.toml here and refuse its constraints beside hashes
    (cd "$work" && "$root/.venv/bin/uv" pip install --quiet --python "$work/$wanted" --no-deps --require-hashes -r "$root/requirements/dev.txt")
    "$work/$wanted/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
    "$work/$wanted/bin/python" -m pytest -q -n auto --dist loadfile "${FAST[@]}"
    rm -rf "${work:?}/$wanted"
done
