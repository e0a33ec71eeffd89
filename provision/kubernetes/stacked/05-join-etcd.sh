#!/usr/bin/env bash
# A stacked etcd joins later (31-join-etcd.sh), right before it is started: etcd has one place for somebody who is not a
# member yet, and the others wait for it.
set -euo pipefail
