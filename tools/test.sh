#!/usr/bin/env bash
# Set up (once) and run the tests on two cores. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
bash tools/setup.sh
OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 "$@"
