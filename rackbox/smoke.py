"""What a machine says of itself from inside just after its first boot, and what is wrong with that. Pure.

``SCRIPT`` is run in every machine and prints one JSON object; ``judge_machines`` judges all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rackbox.topology import Node

SMOKE_TIMEOUT = 40.0

SCRIPT = r"""
systemd_state=$(timeout "${RACKBOX_SMOKE_WAIT:-30}" systemctl is-system-running --wait || true)
failed=$(systemctl list-units --failed --plain --no-legend --full | awk '{print $1}' | jq -R . | jq -s .)
cloud=$(cloud-init status --long --format=json || true)
mounts=$(findmnt --noheadings --list --output TARGET | jq -R . | jq -s .)
keys=$(for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -l -f "$key"; done | awk '{print $2}' | jq -R . | jq -s .)
jq -n --arg id "$(cat /etc/machine-id)" --arg state "$systemd_state" --argjson failed "$failed" \
  --argjson cloud "${cloud:-null}" --argjson mounts "$mounts" --argjson keys "$keys" \
  '{machine_id: $id, state: $state, failed: $failed, cloud_init: $cloud, mounts: $mounts, host_keys: $keys}'
"""


def judge_machines(nodes: Sequence[Node], said: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line for each thing that is wrong; empty for a box whose machines came up clean and are not each other."""
    return judge_said({node.name: [volume.mount for volume in node.volumes] for node in nodes}, said)


def judge_said(mounts: Mapping[str, Sequence[str]], said: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The same for any machines, by name: ``mounts`` are the mount points that each must have."""
    problems = []
    for name, wanted in mounts.items():
        problems += [f"{name}: {text}" for text in _judge_machine(wanted, said[name])]
    for what, key in (("machine-id", "machine_id"), ("SSH host key", "host_keys")):
        problems += _find_shared(what, {name: said[name].get(key) for name in mounts})
    return problems


def _judge_machine(mounts: Sequence[str], said: Mapping[str, Any]) -> list[str]:
    problems = []
    if failed := said.get("failed"):
        problems.append(f"failed units: {', '.join(failed)}")
    elif said.get("state") not in ("running", "degraded"):
        problems.append(f"systemd must be running; got {said.get('state') or 'no answer'}")
    cloud = said.get("cloud_init") or {}
    if cloud.get("status") != "done":
        problems.append(f"cloud-init must be done; got {cloud.get('status', 'no answer')}")
    told = [*cloud.get("errors", []), *(f"{k}: {line}" for k, v in _warnings(cloud).items() for line in v)]
    problems += [f"cloud-init: {text}" for text in told]
    missing = [mount for mount in mounts if mount not in said.get("mounts", [])]
    problems += [f"{mount}: its volume is not mounted" for mount in missing]
    if not said.get("machine_id"):
        problems.append("no machine-id")
    if not said.get("host_keys"):
        problems.append("no SSH host key")
    return problems


def _warnings(cloud: Mapping[str, Any]) -> Mapping[str, list[str]]:
    found: Mapping[str, list[str]] = cloud.get("recoverable_errors") or {}
    return found


def _find_shared(what: str, by_machine: Mapping[str, Any]) -> list[str]:
    """Values that more than one machine has."""
    owners: dict[str, list[str]] = {}
    for name, values in by_machine.items():
        for value in values if isinstance(values, list) else [values]:
            if value:
                owners.setdefault(value, []).append(name)
    return [f"{', '.join(names)}: the same {what}" for names in owners.values() if len(names) > 1]
