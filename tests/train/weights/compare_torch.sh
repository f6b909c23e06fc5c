#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs compare_torch.py with the Python that has torch: $FULCRUM_PEERS_PYTHON, that of build/peers, or the system's.
set -u
here=$(dirname "$0")
python=${FULCRUM_PEERS_PYTHON:-$1/build/peers/bin/python}
[ -x "$python" ] || python=$(command -v python3) || {
    echo "SKIPPED weights_torch: no Python"
    exit 77
}
PYTHONDONTWRITEBYTECODE=1 exec "$python" "$here/compare_torch.py" "$2"
