#!/usr/bin/env bash
# What hooks share. Sourced by every hook; it acts on nothing by itself.
#
# Inputs are the RACKBOX_* variables of /etc/rackbox/env. RACKBOX_ROOT is for tests only: a prefix of the paths
# that hooks write to.

RACKBOX_ROOT=${RACKBOX_ROOT:-}
remembered=$RACKBOX_ROOT/var/lib/rackbox/remembered

say() {
  printf '%s\n' "$*"
}

die() {
  printf '%s\n' "$*" >&2
  exit 1
}

# wait_until WHAT SECONDS COMMAND…: run COMMAND five times a second until it succeeds.
# Its last error output is part of the message when the time is over.
wait_until() {
  local what=$1 seconds=$2 deadline last
  shift 2
  deadline=$((SECONDS + seconds))
  until last=$("$@" 2>&1); do
    if ((SECONDS >= deadline)); then
      die "not within $seconds s: $what; last seen: ${last:-nothing}"
    fi
    sleep 0.2
  done
}

# port_answers HOST PORT: whether something accepts TCP connections there.
port_answers() {
  timeout 1 bash -c "exec 3<>/dev/tcp/$1/$2" 2>/dev/null
}

# file_changed PATH: whether PATH differs from what remember_file saw, or was never seen.
file_changed() {
  ! cmp --silent "$RACKBOX_ROOT$1" "$remembered/${1//\//_}"
}

remember_file() {
  if file_changed "$1"; then
    install -D --mode=0600 "$RACKBOX_ROOT$1" "$remembered/${1//\//_}"
  fi
}

# reload_units: make systemd read unit files that cloud-init has dropped since it started.
reload_units() {
  local unit
  for unit in "$@"; do
    if [[ $(systemctl show --property=NeedDaemonReload --value "$unit") == yes ]]; then
      systemctl daemon-reload
      return
    fi
  done
}

# keep_running UNIT FILE…: have a service run, with what these files of its say by now.
keep_running() {
  local unit=$1 file changed=no
  shift
  for file in "$@"; do
    if file_changed "$file"; then
      changed=yes
    fi
  done
  reload_units "$unit"
  if ! systemctl is-active --quiet "$unit"; then
    systemctl start "$unit"
  elif [[ $changed == yes ]]; then
    systemctl restart "$unit"
  fi
  for file in "$@"; do
    remember_file "$file"
  done
}
