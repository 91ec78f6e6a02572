#!/usr/bin/env bash
# Installs fedlab from nothing, both ways, into fresh environments, and has each train from an empty folder elsewhere.
# Needs .venv (`make setup`) for the build tools. Which registry is asked, the environment of pip and uv says.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
unset PYTHONPATH VIRTUAL_ENV
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

installed() {  # NAME: took how long, and does what a user wants
    echo "== $1: installed in $((SECONDS - start)) s"
    mkdir "$work/elsewhere-$1"
    cd "$work/elsewhere-$1"
    local fedlab="$work/$1/bin/fedlab"
    "$fedlab" doctor
    "$fedlab" train num_rounds=1
    mkdir -p mine/model  # a user's own configuration folder, beside the shipped one
    printf '_target_: fedlab.models.Mlp\nhidden: [5]\n' > mine/model/tiny.yaml
    "$fedlab" train --config-dir mine model=tiny num_rounds=1
    test "$(find outputs -name summary.json | wc -l)" = 2 || { echo "$1: two runs should have left two summaries"; exit 1; }
    cd "$root"
    rm -rf "${work:?}/$1"
}

echo "== pip: the pinned packages without dependency resolution, then a wheel"
.venv/bin/python -m hatchling build -t wheel -d "$work/dist" > /dev/null
start=$SECONDS
.venv/bin/python -m venv "$work/pip"
"$work/pip/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements/base.txt
"$work/pip/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --no-index "$work"/dist/*.whl
installed pip

echo "== uv: resolved anew, under the override-dependencies of pyproject.toml"
start=$SECONDS
.venv/bin/uv venv --quiet --python .venv/bin/python "$work/uv"
.venv/bin/uv pip install --quiet --python "$work/uv/bin/python" .
installed uv
