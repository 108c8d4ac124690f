#!/usr/bin/env bash
# Makes .venv/ from requirements.txt. Skipped when .venv/ is there and matches; safe to call at any time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "setup: $*" >&2; exit 1; }

find_python() {
  local candidate
  for candidate in python3.11 python3 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "Python 3.11 is missing (mmcv 2.1 with torch 2.1 needs it). Install python3.11 with its venv module and headers."
}

wanted=$(cat requirements.txt setup.py | sha256sum | cut -d' ' -f1)
stamp=.venv/.requirements.sha256
[ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && exit 0

python=$(find_python)
command -v c++ >/dev/null || fail "no C++ compiler (c++) found; mmcv compiles from source. Install g++ (Debian/Ubuntu: apt-get install build-essential)."

echo "setup: .venv from requirements.txt, about 8 minutes the first time"
"$python" -m venv .venv || fail "$python cannot make a virtual environment. Install its venv module (Debian/Ubuntu: python3.11-venv)."
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }

# Packages that build against torch and setuptools come second, without build isolation.
built='^(mmcv|chumpy|mmpose)=='
echo "setup: 1/3 torch and the pure packages"
pip install -r <(grep -vE "$built" requirements.txt)
echo "setup: 2/3 mmcv, compiled from source (about 6 minutes, quiet while it compiles)"
# No cache: a cached mmcv wheel may have been built against another torch.
CFLAGS="-O2 -g0" pip install --no-cache-dir --no-build-isolation -r requirements.txt
echo "setup: 3/3 exlpose_mm itself"
pip install --no-build-isolation --no-deps -e .
echo "$wanted" > "$stamp"
echo "setup: done"
