#!/usr/bin/env bash
# Mutation testing: break the modules that pyproject.toml names in many small ways and see whether their tests notice.
# Arguments are patterns of mutants ('exlpose_mm.models.losses.*'). Shows the survivors; docs/mutation.md explains them.
set -euo pipefail
cd "$(dirname "$0")/../.."
bash tools/setup.sh
version=3.8.1
tool=.venv/mutmut-$version
[ -d "$tool" ] || .venv/bin/python -m pip install --quiet --target "$tool" -c requirements.txt "mutmut==$version"
rm -rf mutants
mutmut() { OMP_NUM_THREADS=1 PYTHONPATH="$tool" .venv/bin/python -m mutmut "$@"; }
mutmut run --max-children "${CHILDREN:-2}" "$@"
mutmut results
