#!/usr/bin/env bash
# Waits until this master's etcd, which the kubelet has started, is part of a healthy cluster.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"
# shellcheck source=provision/master/etcd.sh
. "${0%/*}/etcd.sh"

wait_for_member
