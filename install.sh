#!/bin/sh
# Create the environment $1 and install oncoweave with the extras $2 (comma-separated), at the tested versions.
set -eu
venv=$1
extras=$2
unset PYTHONDONTWRITEBYTECODE  # without bytecode every later import is two to three times slower
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
started=$(date +%s)
if "$venv/bin/python" -m pip install --quiet -c constraints.txt uv 2>/dev/null; then
  # uv does not read pip's setting for local wheels, so it is handed over: a CPU build of torch that is at hand is then used
  UV_HTTP_TIMEOUT=600 "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --compile-bytecode \
    ${PIP_FIND_LINKS:+--find-links "$PIP_FIND_LINKS"} -c constraints.txt -e ".[$extras]"
else
  echo "uv could not be installed; using pip, which takes about four times as long" >&2
  "$venv/bin/python" -m pip install --quiet -c constraints.txt -e ".[$extras]"
fi
echo "installed [$extras] in $(($(date +%s) - started)) s"
