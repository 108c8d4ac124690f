#!/usr/bin/env bash
# Set up (once) and run the tests on two cores, and all of them with coverage (see pyproject.toml). Arguments go to
# pytest. STACK=openmmlab is the other stack of tools/setup.sh; PYTHON and VENV are as there.
set -euo pipefail
cd "$(dirname "$0")/.."
stack=${STACK:-default}
bash tools/setup.sh "$stack"
[ "$stack" = default ] && venv=${VENV:-.venv} || venv=${VENV:-.venv-$stack}
[ $# -gt 0 ] || set -- --cov
# What tests write, 6 GB of checkpoints and pictures, is kept if one fails. Not test by test: MMEngine's logger and
# visualiser outlive a test, and write on where they began.
written=$(mktemp -d)
OMP_NUM_THREADS=1 PYTHONWARNDEFAULTENCODING=1 "$venv/bin/python" -m pytest -n 2 --basetemp "$written/pytest" "$@"
rm -rf "$written"
