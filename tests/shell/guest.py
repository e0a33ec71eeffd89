"""A machine that is none: hooks run against fake programs on PATH, below a directory that stands for its root."""

from __future__ import annotations

import base64
import os
import re
import subprocess
from pathlib import Path

import yaml

from rackbox.render import GUEST_LIBRARY
from tests.rendering import rendered, shipped

# What a hook may do at every run without changing anything.
CHANGES = re.compile(
    r"^(systemctl (start|stop|restart|reload|reload-or-restart|enable|disable|daemon-reload)\b"
    r"|gluster .*\b(probe|create|set|start|quota)\b|cibadmin --replace|networkctl|install\b)"
)

FAKES = {
    "systemctl": """
unit=${!#}
case $1 in
  is-active) [[ -e $STATE/active-$unit ]] ;;
  is-enabled) [[ -e $STATE/enabled-$unit ]] ;;
  show) [[ -e $STATE/reload ]] && echo yes || echo no ;;
  daemon-reload) rm -f "$STATE/reload" ;;
  enable) touch "$STATE/enabled-$unit" ;;
  stop) for unit in "${@:2}"; do rm -f "$STATE/active-$unit"; done ;;
  *) for unit in "${@:2}"; do touch "$STATE/active-$unit"; done ;;
esac
""",
    "mountpoint": "[[ -e $STATE/active-mnt-shared.mount ]]",
    "systemd-escape": "echo mnt-shared.mount",
    "ip": 'echo "2: ${4:-nic} inet 192.0.2.1/24 scope global"',
    "networkctl": "",
    "getent": 'echo "192.0.2.254 $2"',
    "dig": "echo 192.0.2.254",
    "sysctl": "",
    "dnsmasq": "",
    "haproxy": "",
    "keepalived": "",
    "nft": "",
    "curl": """echo '{"health":"true"}'""",
    "pgrep": "",
    "timeout": "",
    "cibadmin": "cat >/dev/null",
    "install": """
for word; do
  case $word in --owner=* | --group=*) ;; *) words+=("$word") ;; esac
done
exec /usr/bin/install "${words[@]}"
""",
    "certutil": """
for word; do
  case $word in sql:*) touch "${word#sql:}/cert9.db" ;; esac
done
""",
    "openssl": 'touch "${!#}"',
    "pk12util": "",
    "chown": "",
    "stat": "[[ -d ${!#} ]] && echo etcd 700",
    "find": "",
    "gluster": """
case $* in
  *pool\\ list)
    for server in gluster1 $(cat "$STATE/pool" 2>/dev/null); do printf 'uuid\\t%s\\tConnected\\n' "$server"; done
    [[ ! -e $STATE/all-joined ]] || printf 'u\\tx\\tConnected\\nu\\ty\\tConnected\\n' ;;
  *peer\\ probe*) echo "${!#}" >>"$STATE/pool" ;;
  *volume\\ info*) cat "$STATE/volume" ;;
  *volume\\ create*) echo 'Status: Created' >"$STATE/volume" ;;
  *volume\\ set*) echo 'cluster.heal-timeout: 10' >>"$STATE/volume" ;;
  *quota\\ *\\ enable) echo 'features.quota: on' >>"$STATE/volume" ;;
  *quota\\ *-timeout\\ *) echo "features.${*: -2:1}: ${!#}" >>"$STATE/volume" ;;
  *volume\\ start*) sed -i s/Created/Started/ "$STATE/volume" ;;
esac
""",
}


class FakeGuest:
    """A machine of a shipped lab: files below ``root``, programs in ``bin``, what they were asked in ``calls``."""

    def __init__(self, directory: Path, node: str, lab: str = "default") -> None:
        self.lab = lab
        self.node = shipped(lab).node(node)
        self.root = directory / "root"
        self.bin = directory / "bin"
        self.state = directory / "state"
        self.log = directory / "calls"
        for path in (self.root, self.bin, self.state, self.root / "var/lib/pacemaker/cib"):
            path.mkdir(parents=True)
        self.drop_files()
        for name, body in FAKES.items():
            self.fake(name, body)

    @property
    def library(self) -> Path:
        return Path(f"{self.root}{GUEST_LIBRARY}")

    def drop_files(self) -> None:
        """What cloud-init's write_files does."""
        user_data = yaml.safe_load(rendered(self.lab)[f"nodes/{self.node.name}/user-data"].content)
        for entry in user_data["write_files"]:
            path = Path(f"{self.root}{entry['path']}")
            path.parent.mkdir(parents=True, exist_ok=True)
            encoded = entry.get("encoding") == "b64"
            path.write_bytes(base64.b64decode(entry["content"]) if encoded else entry["content"].encode())
            path.chmod(int(entry["permissions"], 8))

    def fake(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/bash\nprintf "%s\\n" "{name} $*" >>"$CALLS"\n{body}\n')
        path.chmod(0o755)

    def unfake(self, *names: str) -> None:
        for name in names:
            (self.bin / name).unlink()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin",
            "RACKBOX_ROOT": str(self.root),
            "STATE": str(self.state),
            "CALLS": str(self.log),
            "LC_ALL": "C.UTF-8",
        }

    def script(self, path: str, *arguments: str, timeout: float = 20, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run ``path`` of the guest's library with nothing from this computer's environment."""
        return subprocess.run(
            [str(self.library / path), *arguments],
            env=self.environment | extra,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def hook(self, path: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run one hook as the runner does: with the variables of the env file."""
        command = f'set -a; . "$RACKBOX_ROOT/etc/rackbox/env"; set +a; {self._overrides(extra)} exec "$0"'
        return subprocess.run(
            ["bash", "-c", command, str(self.library / path)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    @staticmethod
    def _overrides(extra: dict[str, str]) -> str:
        return " ".join(f"export {name}='{value}';" for name, value in extra.items())

    def calls(self) -> list[str]:
        """What the fake programs were asked since the last call of this."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines

    def changes(self) -> list[str]:
        return [line for line in self.calls() if CHANGES.match(line)]

    def files(self) -> dict[str, bytes]:
        return {
            str(path): path.read_bytes() for path in self.root.rglob("*") if path.is_file() and os.access(path, os.R_OK)
        }
