#!/usr/bin/env bash
# Makes this machine a member of the etcd that the other masters have, if it is none: as where etcd is a service.
set -euo pipefail

exec "${0%/*}/plain-05-join-etcd.sh"
