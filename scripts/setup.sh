#!/bin/sh
# Makes .venv with the pinned packages, or updates it; `make` calls this where .venv is missing or out of date.
# PYTHON=/path/to/python names the Python to use. Without it: one of this machine's, else one that uv downloads into .python/.
set -eu
cd -P "${0%/*}/.." # as make names the checkout, links resolved

SUITABLE='import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 11))'
FETCHED=3.11 # the version that uv downloads

suitable() { "$1" -c "$SUITABLE" >/dev/null 2>&1; }

fail() { # LINE…
    echo "$*" >&2
    exit 1
}

find_python() { # prints a suitable Python of this machine, or of an earlier download
    pyenv=${PYENV_ROOT:-$HOME/.pyenv}/versions
    for python in python3.11 python3.10 python3 python \
        "$pyenv"/3.11.*/bin/python "$pyenv"/3.10.*/bin/python "$PWD"/.python/cpython-"$FETCHED"*/bin/python"$FETCHED"; do
        if suitable "$python"; then echo "$python"; return; fi
    done
    return 1
}

find_uv() { # prints uv: this machine's, or the pinned one from the package index in .uv/
    if command -v uv; then return; fi
    if [ ! -x .uv/bin/uv ]; then
        mkdir -p .uv
        # The lines of uv's pin, with its hashes; its marker names the Pythons of fedlab, and this one is another
        awk '/^uv==/ {sub(/ ;.*/, " \\"); print; pin = 1; next} /^ / {if (pin) print; next} {pin = 0}' requirements/dev.txt >.uv/pin.txt
        for python in python3 python; do
            "$python" -m pip install -qq --disable-pip-version-check --no-deps --require-hashes --target .uv -r .uv/pin.txt && break
        done >/dev/null 2>&1
    fi
    if [ -x .uv/bin/uv ]; then echo "$PWD/.uv/bin/uv"; else return 1; fi
}

fetch_python() { # prints a Python that uv has downloaded into .python/
    uv=$(find_uv) || return 1
    echo "No Python 3.10 or 3.11 here: downloading Python $FETCHED into .python/ with uv…" >&2
    UV_PYTHON_INSTALL_DIR=$PWD/.python UV_PYTHON_INSTALL_BIN=0 "$uv" python install --quiet "$FETCHED" >&2 && find_python
}

if [ "$(uname -sm)" != "Linux x86_64" ]; then
    fail "fedlab needs Linux on x86_64, which TensorFlow Federated 0.87 is built for; this is $(uname -sm)."
fi
task="Updating .venv to the pinned packages…"
if [ -e .venv/.unfinished ] || ! suitable .venv/bin/python || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    if [ -n "${PYTHON:-}" ]; then
        suitable "$PYTHON" || fail "PYTHON=$PYTHON is no Python 3.10 or 3.11 with the venv module."
        found=$PYTHON
    else
        found=$(find_python || fetch_python) || fail "fedlab needs Python 3.10 or 3.11 with the venv module; found none and could" \
            "not download one. Install one (pyenv install 3.11; or apt install python3.11 python3.11-venv where apt has it)," \
            "or install uv, which downloads one (pipx install uv), or name one with PYTHON=/path/to/python."
    fi
    echo "Making .venv with $("$found" --version) ($found)"
    rm -rf .venv
    mkdir .venv
    touch .venv/.unfinished
    "$found" -m venv .venv
    task="Installing the pinned packages into .venv (a minute or two)…"
fi
rm -f .venv/.ready
touch .venv/.unfinished
echo "$task"
.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
echo "$PWD" >.venv/.ready
rm .venv/.unfinished
