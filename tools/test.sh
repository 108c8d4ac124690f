#!/usr/bin/env bash
# Set up (once) and run the tests on two cores, and all of them with coverage (see setup.cfg). Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
bash tools/setup.sh
[ $# -gt 0 ] || set -- --cov
OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 "$@"
