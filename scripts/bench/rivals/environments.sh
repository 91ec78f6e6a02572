#!/bin/sh
# Installs the rivals of bench.py, each framework in an environment of its own: environments.sh FOLDER [PYTHON]
# Then: python scripts/bench.py rounds --rivals FOLDER
set -eu
folder=${1:?usage: environments.sh FOLDER [PYTHON]}
python=${2:-python3}
mkdir -p "$folder"
"$python" -m venv "$folder/torch"
"$folder/torch/bin/pip" install --quiet 'torch==2.13.0' 'pfl[pytorch]==0.6.0'
"$python" -m venv "$folder/jax"
"$folder/jax/bin/pip" install --quiet 'fedjax==0.0.17' 'jax==0.10.2'
