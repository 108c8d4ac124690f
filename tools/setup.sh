#!/usr/bin/env bash
# Makes a virtual environment with this package and all that it needs, and does nothing if it is there and matches.
#   tools/setup.sh              .venv from requirements.txt: today's torch, no compiled mmcv
#   tools/setup.sh openmmlab    .venv-openmmlab from requirements/openmmlab.txt: OpenMMLab's stack of 2023, compiles mmcv
# PYTHON=... is another interpreter than the newest that fits, VENV=... another folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "setup: $*" >&2; exit 1; }

stack=${1:-default}
case $stack in
    default) requirements=requirements.txt; versions='12 11 10'; venv=${VENV:-.venv} ;;
    openmmlab) requirements=requirements/openmmlab.txt; versions='11 10'; venv=${VENV:-.venv-openmmlab} ;;
    *) fail "there is no stack '$stack': default or openmmlab" ;;
esac

find_python() {
    local candidate minor
    for minor in $versions; do
        for candidate in ${PYTHON:-"python3.$minor" python3 python}; do
            if "$candidate" -c "import sys; sys.exit(sys.version_info[:2] != (3, $minor))" 2>/dev/null; then
                echo "$candidate"
                return
            fi
        done
    done
    fail "${PYTHON:-no interpreter on the PATH} is none of Python 3.${versions// /, 3.}, which this stack needs. Install one with its venv module and headers, or name it: PYTHON=/path/to/python tools/setup.sh"
}

python=$(find_python)
wanted=$( (cat "$requirements" requirements/tests.txt pyproject.toml; "$python" --version) | sha256sum | cut -d' ' -f1)
stamp=$venv/.requirements.sha256
[ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && exit 0

command -v cc >/dev/null || fail "no C compiler (cc), which xtcocotools needs for a few seconds. Install gcc (Debian/Ubuntu: apt-get install build-essential python3-dev)."
[ "$stack" = default ] || command -v c++ >/dev/null || fail "no C++ compiler (c++), which mmcv needs. Install g++ (Debian/Ubuntu: apt-get install build-essential)."

"$python" -m venv --clear "$venv" || fail "$python cannot make a virtual environment. Install its venv module (Debian/Ubuntu: python3-venv)."
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

# Packages that build against torch, NumPy and setuptools come second; MMPose's dependencies are listed.
built='^(mmcv|mmpose|xtcocotools)=='
echo "setup: 1/3 $venv by $("$python" --version) from $requirements: torch and the pure packages"
pip install -r <(grep -vE "$built|^--no-binary" "$requirements") -r requirements/tests.txt
echo "setup: 2/3 xtcocotools, MMPose$([ "$stack" = default ] || echo ' and mmcv, compiled from source (about 6 minutes, quiet while it compiles)')"
# No cache: a cached wheel may have been built against another torch or NumPy.
CFLAGS="-O2 -g0" pip install --no-cache-dir --no-build-isolation --no-deps -r <(grep -E "$built|^--no-binary" "$requirements")
echo "setup: 3/3 exlpose_mm itself"
pip install --no-deps -e .
echo "$wanted" > "$stamp"
echo "setup: done"
