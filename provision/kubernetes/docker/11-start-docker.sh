#!/usr/bin/env bash
# Starts Docker Engine, on the containerd that runs by now, and cri-dockerd, which the kubelet speaks to it through.
set -euo pipefail
# shellcheck source=/dev/null
. "${0%/*}/../lib.sh"

units=/etc/systemd/system
keep_running docker.service /etc/docker/daemon.json "$units/docker.service"
keep_running cri-docker.service "$units/cri-docker.service"
