"""A lab's Vagrantfile, given to Vagrant and to a real VBoxManage: the box is imported, machines are made as linked
clones and set up; only the start is left out, which needs VirtualBox's kernel module.

``tests/consumer/virtualbox/unpack`` gets a VirtualBox for this. RACKBOX_TEST_BOX names a box to import; without one, a
disk with next to nothing on it is packed, which is all the same to VirtualBox.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from rackbox.credentials import ensure_credentials
from rackbox.hooks import load_sources
from rackbox.layout import load_layout
from rackbox.packing import pack
from rackbox.paths import LabPaths
from rackbox.providers import virtualbox_settings as settings
from rackbox.providers.virtualbox import parse_info
from rackbox.render import VagrantTarget, render_lab, write_rendered
from rackbox.run import run
from rackbox.seed import write_seed
from rackbox.topology import Node, Topology
from tests.consumer.virtualbox_root import TOOLS
from tests.rendering import shipped

pytestmark = [pytest.mark.virtualbox, pytest.mark.timeout(900, func_only=False)]
RECORDED = TOOLS / "commands.txt"
BOX = "rackbox/debian-13"
MACHINES = {"small": ("gateway", "lb1", "lb2", "master1"), "default": ("gateway", "gluster1")}
READ_ONLY = ("list", "showvminfo", "--version", "snapshot list", "guestproperty", "showmediuminfo")
UP = """
set -u
cd "$1"
for machine in $2; do
    vagrant up --provider virtualbox --no-destroy-on-error "$machine" >"$1/$machine.up" 2>&1
    VBoxManage showvminfo --machinereadable "rackbox-$3-$machine" >"$1/$machine.info" || exit 1
done
VBoxManage list --long hdds >"$1/disks"
VBoxManage list hostonlyifs >"$1/interfaces"
echo again >>"$VBOX_LOG"
vagrant up "$machine" >"$1/$machine.again" 2>&1
vagrant destroy --force >"$1/destroyed" 2>&1 || { cat "$1/destroyed"; exit 1; }
VBoxManage list vms >"$1/left"
"""


@dataclass(frozen=True)
class Made:
    """What came of a lab: VirtualBox's word on each machine, and Vagrant's commands in order."""

    topology: Topology
    directory: Path
    paths: LabPaths

    def info(self, machine: str) -> dict[str, str]:
        return parse_info((self.directory / f"{machine}.info").read_text())

    @property
    def commands(self) -> list[list[str]]:
        lines = (self.directory.parent.parent / "commands.jsonl").read_text().splitlines()
        return [["again"] if line == "again" else json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ.get("RACKBOX_TEST_BOX")
    if named:
        return Path(named).resolve()
    out = tmp_path_factory.mktemp("box")
    run(["qemu-img", "create", "-q", "-f", "qcow2", str(out / "disk.qcow2"), f"{load_layout().disk_mib}M"], timeout=20)
    # One of nothing at all is refused: a stream-optimised disk has to have a grain (VERR_EOF).
    run(["qemu-io", "-c", "write -P 7 0 1M", str(out / "disk.qcow2")], timeout=20)
    pack(out, out / "virtualbox.box", "virtualbox")
    return out / "virtualbox.box"


def make(lab: str, box: Path, vbox_root: Path, top: Path, networks: str) -> subprocess.CompletedProcess[str]:
    """Have Vagrant make ``MACHINES`` of a shipped lab below ``top``."""
    topology = shipped(lab)
    paths = LabPaths(top / "lab", top / "run", top / "runs")
    credentials = ensure_credentials(topology, paths.secrets)
    lines = {node.name: settings.machine_settings(topology, node, paths) for node in topology.nodes}
    target = VagrantTarget("virtualbox", BOX, box_version="1.0.0", directory=paths.rendered)
    write_rendered(render_lab(topology, credentials, lines, load_sources(), target), paths.rendered)
    (paths.logs / "console").mkdir(parents=True)
    for node in (topology.node(name) for name in MACHINES[lab]):
        seed = settings.seed_disk(paths, node)
        write_seed(paths.rendered / "nodes" / node.name, seed.with_suffix(".iso"))
        os.truncate(seed.with_suffix(".iso"), 1 << 20)
        run(["qemu-img", "convert", "-f", "raw", "-O", "vdi", str(seed.with_suffix(".iso")), str(seed)], timeout=20)
        for volume in node.own_disks:
            disk = settings.own_disk(paths, node, volume)
            run(["qemu-img", "create", "-q", "-f", "vdi", str(disk), f"{volume.disk_mib}M"], timeout=20)
    versions = [{"version": "1.0.0", "providers": [{"name": "virtualbox", "url": box.as_uri()}]}]
    (top / "catalogue.json").write_text(json.dumps({"name": BOX, "versions": versions}))
    env = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "HOME": str(top),
        "VAGRANT_HOME": str(top / "vagrant"),
        "VAGRANT_CHECKPOINT_DISABLE": "1",
        "VBOX_ROOT": str(vbox_root),
    }
    subprocess.run(
        ["vagrant", "box", "add", "--provider", "virtualbox", str(top / "catalogue.json")],
        env=env,
        check=True,
        capture_output=True,
        timeout=300,
    )
    script = ["bash", "-c", UP, "_", str(paths.rendered), " ".join(MACHINES[lab]), topology.lab]
    return subprocess.run(
        [str(TOOLS / "apart"), str(top), networks, *script],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="module", params=MACHINES)
def made(request: pytest.FixtureRequest, box: Path, vbox_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    top = tmp_path_factory.mktemp(f"virtualbox-{request.param}")
    topology = shipped(request.param)
    networks = "\n".join(f"* {network.cidr}" for network in settings.host_only(topology))
    done = make(request.param, box, vbox_root, top, networks)
    paths = LabPaths(top / "lab", top / "run", top / "runs")
    said = "\n".join(path.read_text() for path in sorted(paths.rendered.glob("*.up")))
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{said}"
    shutil.rmtree(top / "vagrant")
    return Made(topology, paths.rendered, paths)


def machines(made: Made) -> list[Node]:
    return [made.topology.node(name) for name in MACHINES[made.topology.lab]]


def test_vagrant_comes_as_far_as_the_start(made: Made) -> None:
    for node in machines(made):
        said = (made.directory / f"{node.name}.up").read_text()
        assert "not started: its commands were noted" in said, said
        assert said.count("VBoxManage: error") == 1, said


def test_size_and_hardware_are_the_topology_s(made: Made) -> None:
    for node in machines(made):
        info = made.info(node.name)
        assert info["name"] == f"rackbox-{made.topology.lab}-{node.name}"
        assert (info["memory"], info["cpus"]) == (str(node.memory_mib), str(node.cpus))
        assert (info["firmware"], info["rtcuseutc"]) == ("BIOS", "on")
        assert info["groups"] == f"/rackbox/{made.topology.lab}"
        assert info["uart1"] == "0x03f8,4"
        assert info["uartmode1"] == f"file,{made.paths.logs}/console/{node.name}.log"


def test_network_cards_are_the_topology_s(made: Made) -> None:
    """NAT first, which Vagrant insists on; then one card for each of the machine's, with its MAC, on its network."""
    interfaces = host_only_interfaces(made)
    for node in machines(made):
        info = made.info(node.name)
        assert info["nic1"] == "nat"
        assert not [name for name in info if name.startswith("Forwarding")]
        for number, nic in enumerate(node.nics, 2):
            network = made.topology.network(nic.network)
            assert info[f"macaddress{number}"] == nic.mac.replace(":", "").upper()
            assert info[f"nictype{number}"] == "virtio"
            assert info[f"cableconnected{number}"] == "on"
            if network in settings.host_only(made.topology):
                assert info[f"nic{number}"] == "hostonly"
                assert interfaces[info[f"hostonlyadapter{number}"]] == (str(network.client), str(network.netmask))
            else:
                assert info[f"nic{number}"] == "intnet"
                assert info[f"intnet{number}"] == f"rackbox-{made.topology.lab}-{network.name}"
        assert info[f"nic{len(node.nics) + 2}"] == "none"


def host_only_interfaces(made: Made) -> dict[str, tuple[str, str]]:
    """Address and netmask of this computer's end of each, by name."""
    text = (made.directory / "interfaces").read_text()
    found = (dict(re.findall(r"^(\w+): +(\S+)$", part, re.MULTILINE)) for part in text.split("\n\n"))
    return {part["Name"]: (part["IPAddress"], part["NetworkMask"]) for part in found if part}


def test_disks_are_linked_clones_and_the_seed_is_in(made: Made) -> None:
    disks = [parse_medium(part) for part in (made.directory / "disks").read_text().split("\n\n") if part.strip()]
    by_uuid = {disk["UUID"]: disk for disk in disks}
    for node in machines(made):
        info = made.info(node.name)
        assert info["storagecontrollertype0"] == "IntelAhci"
        assert info["SATA Controller-1-0"] == str(settings.seed_disk(made.paths, node))
        disk = by_uuid[info["SATA Controller-ImageUUID-0-0"]]
        assert disk["Type"] == "normal (differencing)"
        parent = by_uuid[disk["Parent UUID"]]
        assert (parent["Parent UUID"], parent["Capacity"]) == ("base", f"{load_layout().disk_mib} MBytes")


def parse_medium(text: str) -> Mapping[str, str]:
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def test_a_second_start_changes_nothing(made: Made) -> None:
    """What Vagrant sets up before each start is taken again, with nothing refused."""
    name = MACHINES[made.topology.lab][-1]
    said = (made.directory / f"{name}.again").read_text()
    assert said.count("VBoxManage: error") == 1, said
    assert "not started: its commands were noted" in said
    again = made.commands[made.commands.index(["again"]) :]
    assert [command for command in again if command[:1] == ["startvm"]]
    assert not [command for command in again if command[:1] in (["import"], ["clonevm"])]


def test_destroy_leaves_only_the_base(made: Made) -> None:
    left = (made.directory / "left").read_text().splitlines()
    assert len(left) == 1
    assert left[0].startswith('"rackbox_')


def test_the_commands_are_those_on_record(made: Made, request: pytest.FixtureRequest) -> None:
    """All that Vagrant had VirtualBox change, in order: what to look at when a newer Vagrant does it otherwise."""
    path = RECORDED.with_stem(f"commands-{made.topology.lab}")
    text = "".join(f"{line}\n" for line in normalise(made))
    if request.config.getoption("--update-golden", default=False):
        path.write_text(text)
    assert path.exists(), f"{path}: run with --update-golden"
    assert text == path.read_text()


def normalise(made: Made) -> list[str]:
    names: dict[str, str] = {}
    for name in MACHINES[made.topology.lab]:
        names[made.info(name)["UUID"]] = name
    lines = []
    for command in made.commands:
        if command == ["again"]:
            break
        if not command or " ".join(command[:2]).startswith(READ_ONLY) or "list" in command[1:3]:
            continue
        line = " ".join(command)
        for uuid, name in names.items():
            line = line.replace(uuid, f"<{name}>")
        line = line.replace(str(made.directory.parent.parent), "<top>")
        line = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<base>", line)
        lines.append(re.sub(r"_\d{10,}_\d+", "_<number>", line))
    return lines


def test_networks_that_virtualbox_does_not_allow_are_refused(
    box: Path, vbox_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Without their lines in networks.conf(5): this is what `doctor` warns of."""
    top = tmp_path_factory.mktemp("virtualbox-refused")
    done = make("small", box, vbox_root, top, "* 192.168.56.0/21")
    said = (top / "lab/rendered/gateway.up").read_text()
    assert done.returncode != 0 or "10.77.1.1" in said
    assert "not within the allowed ranges" in " ".join(said.split()), said
