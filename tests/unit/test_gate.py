"""The gate's judgement: what a tree must not hold, what a machine must say of itself, what a refusal leaves behind."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rackbox import gate
from rackbox.box import Box
from rackbox.errors import LabError, MachineError
from rackbox.load import load_topology
from rackbox.paths import PROJECT, Home
from rackbox.smoke import judge_machines
from rackbox.topology import Node
from rackbox.treecheck import check_tree

NOWHERE = Console(file=io.StringIO())
HEAD = "-----BEGIN {}PRIVATE KEY-----\n"


def tree(files: dict[str, str], *, machine_id: str | None = "") -> tarfile.TarFile:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, text in (files if machine_id is None else {"etc/machine-id": machine_id, **files}).items():
            member = tarfile.TarInfo(f"./{name}")
            content = text.encode("latin-1")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    data.seek(0)
    return tarfile.open(fileobj=data, mode="r|")


def test_a_tree_that_machines_may_share() -> None:
    files = {
        "usr/bin/reader": f"the head alone is no key: {HEAD.format('')}",
        "usr/lib/libgnutls.so": "\x7fELF" + HEAD.format("RSA ") + "A" * 64,
        "etc/ssl/certs/ca.pem": "-----BEGIN CERTIFICATE-----\n" + "A" * 64,
        "usr/lib/python3/dist-packages/cloudinit/config/cc_ssh.py": f"  {HEAD.format('RSA ')}  {'Ab9/' * 15}\n  ...\n",
        "etc/ssh/sshd_config": "",
    }
    assert check_tree(tree(files)) == []


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "])
def test_a_key_anywhere(kind: str) -> None:
    text = f"some words\n{HEAD.format(kind)}{'Ab9/' * 16}\n-----END {kind}PRIVATE KEY-----\n"
    assert check_tree(tree({"opt/app/data.bin": text})) == ["/opt/app/data.bin: holds a private key"]


def test_a_key_with_headers() -> None:
    text = f"{HEAD.format('RSA ')}Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{'Ab9/' * 16}\n"
    assert check_tree(tree({"x": text})) == ["/x: holds a private key"]


@pytest.mark.parametrize(
    "name",
    [
        "etc/ssh/ssh_host_ed25519_key",
        "etc/ssl/private/ssl-cert-snakeoil.key",
        "etc/corosync/qnetd/nssdb/key4.db",
        "etc/corosync/qdevice/net/nssdb",
        "etc/pacemaker/authkey",
        "srv/anything/key4.db",
        "var/lib/glusterd/glusterd.info",
        "var/lib/systemd/random-seed",
        "root/.ssh/authorized_keys",
    ],
)
def test_what_must_differ_between_machines(name: str) -> None:
    (problem,) = check_tree(tree({name: "x"}))
    assert problem.startswith(f"/{name}: ")


def test_a_machine_id_in_the_tree_or_none_at_all() -> None:
    assert check_tree(tree({}, machine_id="b" * 32)) == [
        "/etc/machine-id: must be empty, or all machines have the same"
    ]
    assert check_tree(tree({}, machine_id=None))[0].startswith("/etc/machine-id: must be there")


# --- from inside


@pytest.fixture(scope="module")
def nodes() -> tuple[Node, ...]:
    return load_topology(PROJECT / "config" / "small.yaml").nodes


def say(nodes: tuple[Node, ...]) -> dict[str, dict[str, Any]]:
    return {
        node.name: {
            "machine_id": f"id of {node.name}",
            "state": "running",
            "failed": [],
            "cloud_init": {"status": "done", "errors": [], "recoverable_errors": {}},
            "mounts": ["/", *(volume.mount for volume in node.volumes)],
            "host_keys": [f"key of {node.name}"],
        }
        for node in nodes
    }


def test_machines_that_came_up_clean(nodes: tuple[Node, ...]) -> None:
    assert judge_machines(nodes, say(nodes)) == []


BROKEN: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda m: m.update(failed=["x.service", "y.mount"]), "master1: failed units: x.service, y.mount"),
    (lambda m: m.update(state="starting"), "master1: systemd must be running; got starting"),
    (lambda m: m.update(state=""), "master1: systemd must be running; got no answer"),
    (lambda m: m.update(cloud_init=None), "master1: cloud-init must be done; got no answer"),
    (lambda m: m["cloud_init"].update(status="error"), "master1: cloud-init must be done; got error"),
    (
        lambda m: m["cloud_init"].update(recoverable_errors={"WARNING": ["no such key"]}),
        "master1: cloud-init: WARNING: no such key",
    ),
    (lambda m: m.update(mounts=["/"]), "master1: /var/lib/etcd: its volume is not mounted"),
    (lambda m: m.update(machine_id=""), "master1: no machine-id"),
    (lambda m: m.update(host_keys=[]), "master1: no SSH host key"),
]


@pytest.mark.parametrize(("harm", "problem"), BROKEN, ids=[problem for _, problem in BROKEN])
def test_each_thing_that_is_wrong(nodes: tuple[Node, ...], harm: Callable[[Any], Any], problem: str) -> None:
    said = say(nodes)
    harm(said["master1"])
    assert problem in judge_machines(nodes, said)


def test_machines_that_are_each_other(nodes: tuple[Node, ...]) -> None:
    said = say(nodes)
    said["lb2"]["machine_id"] = said["lb1"]["machine_id"]
    said["lb2"]["host_keys"] = ["its own", *said["lb1"]["host_keys"]]
    assert judge_machines(nodes, said) == ["lb1, lb2: the same machine-id", "lb1, lb2: the same SSH host key"]


# --- the course


@pytest.fixture
def box(tmp_path: Path) -> Box:
    directory = tmp_path / "data" / "boxes" / "debian-13" / "lxc" / "20260101.1"
    directory.mkdir(parents=True)
    return Box("debian-13", "lxc", "20260101.1", directory / "x.box", "")


def test_the_first_stage_that_finds_something_ends_it(
    tmp_path: Path, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, played = Home(tmp_path / "data", tmp_path / "run"), []

    def play(name: str, answer: list[str] | LabError) -> gate.Stage:
        def stage(course: Any) -> list[str]:
            played.append(name)
            course.figures[f"{name}_ms"] = 12.5
            if isinstance(answer, LabError):
                raise answer
            return answer

        return stage

    def prove(**stages: list[str] | LabError) -> gate.GateResult:
        played.clear()
        monkeypatch.setattr(gate, "STAGES", {name: play(name, answer) for name, answer in stages.items()})
        return gate.prove(home, box, NOWHERE)

    assert prove(tree=[], boot=[]).ok
    result = prove(tree=[], boot=MachineError("lb1: no answer"), smoke=[])
    assert (result.problems, played) == (("boot: lb1: no answer",), ["tree", "boot"])
    written = json.loads((box.path.parent / "gate" / "gate.json").read_text())
    assert written["problems"] == ["boot: lb1: no answer"]
    assert written["figures"]["tree_ms"] == 12.5
    assert (box.path.parent / "gate" / "lab.yaml").exists()
    assert not home.lab(gate.gate_lab(home, "debian-13", "lxc")).root.exists()


def test_each_data_directory_has_a_gate_of_its_own(tmp_path: Path) -> None:
    """Labs' names are the whole computer's."""
    names = {gate.gate_lab(Home(tmp_path / name, tmp_path), "ubuntu-24.04", "lxc") for name in "ab"}
    assert len(names) == 2
    assert all(len(name) <= 20 and name.startswith("gate-ubuntu-24") for name in names)
