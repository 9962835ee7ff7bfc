#!/bin/sh
# All that is measured on one H100, in at most ten minutes: writes bench-gpu.md, one table with what was printed below it.
#
#   bench/gpu.sh                    steps, memory, utilisation, the trainer, scaling
#   bench/gpu.sh --photos SHARDS    and how much of the time the GPU is busy while it trains on these photographs
#   bench/gpu.sh --tiny             tries it, on any machine
#
# PYTHON is the interpreter, .venv/bin/python by default. Needs no network and no installation of the project.
set -eu
cd "$(dirname "$0")/.."
PYTHONPATH="$PWD:$PWD/registry$(printf ':%s' "$PWD"/plugins/*)${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH
exec "${PYTHON:-.venv/bin/python}" bench/run_all.py gpu --out bench-gpu.md "$@"
