"""What the VirtualBox provider tells VBoxManage, and what it reads from its answers. The real one is asked by
``tests/consumer/test_virtualbox.py`` and ``test_virtualbox_lab.py``."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from rackbox.errors import CommandFailed, LabError
from rackbox.paths import LabPaths
from rackbox.providers import virtualbox, virtualbox_networks
from rackbox.providers.virtualbox import VirtualboxProvider, parse_info, remove_base, vdi_mib
from rackbox.providers.virtualbox_networks import add_interfaces, parse_interfaces, remove_interfaces
from rackbox.providers.virtualbox_settings import host_only, names_of, own_disk
from rackbox.run import Result
from tests.rendering import shipped

SMALL = shipped("small")
MANAGEMENT, CLIENTS = host_only(SMALL)
INTERFACE = """\
Name:            {name}
GUID:            f0000154-dae8-4abf-8000-8e17ff74034b
DHCP:            Disabled
IPAddress:       {address}
NetworkMask:     {netmask}
IPV6Address: none
Status:          Up
VBoxNetworkName: HostInterfaceNetworking-{name}
"""


@dataclass
class Told:
    """VBoxManage and ip(8), as far as networks and machines' states go; what each was told, in order."""

    interfaces: dict[str, tuple[str, str]] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    machines: dict[str, str] = field(default_factory=dict)
    words: list[list[str]] = field(default_factory=list)
    refuses: str = ""
    looked_at: int = 0
    """How often somebody else who looks at a machine is in the way."""
    starting: int = 0
    """How often it is still told that the daemon is not there."""

    def run(self, argv: list[str], *, timeout: float, check: bool = True) -> Result:
        code, said, error = self.answer(argv)
        self.words.append(argv)
        if check and code:
            raise CommandFailed(error)
        return Result(tuple(argv), code, said, error, 0.0)

    def answer(self, argv: list[str]) -> tuple[int, str, str]:
        if self.starting and argv[0] == "VBoxManage":
            self.starting -= 1
            return 1, "", "VBoxManage: error: Most likely, the VirtualBox COM server is not running or failed to start."
        match argv:
            case ["VBoxManage", "hostonlyif", "create"]:
                name = f"vboxnet{len(self.interfaces)}"
                self.interfaces[name] = ("192.168.56.1", "255.255.255.0")
                return 0, f"0%...100%\nInterface '{name}' was successfully created\n", ""
            case ["VBoxManage", "hostonlyif", "ipconfig", name, "--ip", address, "--netmask", netmask]:
                if self.refuses:
                    return 1, "", self.refuses
                self.interfaces[name] = (address, netmask)
                self.addresses[name] = address
            case ["VBoxManage", "hostonlyif", "remove", name]:
                del self.interfaces[name]
            case ["VBoxManage", "list", "hostonlyifs"]:
                rows = self.interfaces.items()
                return 0, "\n".join(INTERFACE.format(name=n, address=a, netmask=m) for n, (a, m) in rows), ""
            case ["VBoxManage", "list", "runningvms"]:
                on = (name for name, state in self.machines.items() if state in ("running", "paused"))
                return 0, "".join(f'"{name}" {{0-0}}\n' for name in on), ""
            case ["VBoxManage", "showvminfo", _, name] if self.looked_at:
                self.looked_at -= 1
                return 1, f'name="{name}"\n', "VBoxManage: error: The object is not ready"
            case ["VBoxManage", "showvminfo", _, name]:
                return 0, f'name="{name}"\nVMState="{self.machines.get(name, "poweroff")}"\n', ""
            case ["VBoxManage", "list", "vms"]:
                return 0, "".join(f'"{name}" {{0-0}}\n' for name in self.machines), ""
            case ["VBoxManage", "unregistervm", name, "--delete"]:
                self.machines.pop(name, None)
            case ["VBoxManage", "controlvm", name, "poweroff"]:
                self.machines[name] = "poweroff"
            case ["ip", "-json", *_, name]:
                address = self.addresses.get(name, "")
                return 0, f'[{{"addr_info": [{{"local": "{address}"}}]}}]' if address else "[{}]", ""
        return 0, "", ""

    def had(self, *words: str) -> list[list[str]]:
        return [argv for argv in self.words if argv[1 : 1 + len(words)] == list(words)]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    double = Told()
    for module in (virtualbox, virtualbox_networks):
        monkeypatch.setattr(module, "run", double.run)
    return double


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(virtualbox, "RUNTIME", tmp_path)
    (tmp_path / "small").mkdir()
    return tmp_path / "small"


def test_which_machines_are_the_lab_s() -> None:
    listed = ["rackbox-a-lb1", "rackbox-a-b-lb1", "rackbox-b-lb1", "rackbox_1700000000_12", "lb1", "rackbox-a"]
    assert names_of("a", listed) == {"lb1"}
    assert names_of("a-b", listed) == {"lb1"}
    assert names_of("b", [*listed, "rackbox-b-master2"]) == {"lb1", "master2"}


def test_what_virtualbox_says_of_a_machine_and_of_networks() -> None:
    info = parse_info('name="x=y"\nVMState="running"\n"SATA Controller-1-0"="/a b/seed.vdi"\ncpus=2\n\n')
    assert info == {"name": "x=y", "VMState": "running", "SATA Controller-1-0": "/a b/seed.vdi", "cpus": "2"}
    text = "\n".join(INTERFACE.format(name=f"vboxnet{n}", address=f"10.0.{n}.1", netmask="255.0.0.0") for n in (0, 1))
    assert [(item.name, item.address) for item in parse_interfaces(text)] == [
        ("vboxnet0", "10.0.0.1"),
        ("vboxnet1", "10.0.1.1"),
    ]
    assert parse_interfaces("") == []


def test_how_large_a_disk_is(tmp_path: Path) -> None:
    disk = tmp_path / "x.vdi"
    disk.write_bytes(bytes(368) + struct.pack("<Q", 5 << 30) + bytes(100))
    assert vdi_mib(disk) == 5 << 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda t: replace(t, uplink="nat"), "uplink: must be none", id="uplink"),
        pytest.param(
            lambda t: replace(t, nodes=(replace(t.nodes[0], disk_mib=48 << 10), *t.nodes[1:])),
            r"nodes\.gateway\.disk: cannot be set .*; got 48G",
            id="disk",
        ),
        pytest.param(lambda t: shipped("kubernetes-small"), "kubernetes: must be source: none", id="cluster"),
    ],
)
def test_what_it_cannot_do_is_told_before_anything_is_made(
    change: Callable[[object], object], words: str, told: Told, place: Path, tmp_path: Path
) -> None:
    topology = change(SMALL)
    with pytest.raises(LabError, match=words) as info:
        VirtualboxProvider().prepare(topology, LabPaths(tmp_path / "lab", place, tmp_path / "runs"))  # type: ignore[arg-type]
    assert info.value.hint
    assert told.words == []


def test_networks_are_made_once_and_taken_away(told: Told, place: Path) -> None:
    def manage(*words: str, check: bool = True) -> Result:
        return told.run(["VBoxManage", *words], timeout=1, check=check)

    add_interfaces(SMALL, place, manage)
    wanted = {(str(network.client), str(network.netmask)) for network in (MANAGEMENT, CLIENTS)}
    assert set(told.interfaces.values()) == wanted
    assert len(told.had("dhcpserver", "remove")) == 2, "DHCP is the gateway's"
    routes = [words[3] for words in told.had("route", "replace")]
    assert routes == [str(network.cidr) for network in SMALL.lab_networks if network.client is None]
    add_interfaces(SMALL, place, manage)
    assert len(told.had("hostonlyif", "create")) == 2
    remove_interfaces(SMALL, place, manage)
    assert told.interfaces == {}


def test_an_interface_has_its_address_again_after_a_reboot_and_stays_if_it_was_there(told: Told, place: Path) -> None:
    """VirtualBox names the address that it will give it; the kernel has none."""

    def manage(*words: str, check: bool = True) -> Result:
        return told.run(["VBoxManage", *words], timeout=1, check=check)

    told.interfaces["vboxnet0"] = (str(MANAGEMENT.client), str(MANAGEMENT.netmask))
    add_interfaces(SMALL, place, manage)
    assert told.addresses["vboxnet0"] == str(MANAGEMENT.client)
    remove_interfaces(SMALL, place, manage)
    assert list(told.interfaces) == ["vboxnet0"]


def test_a_network_that_another_lab_has_is_refused_by_its_name(told: Told, place: Path) -> None:
    def manage(*words: str, check: bool = True) -> Result:
        return told.run(["VBoxManage", *words], timeout=1, check=check)

    (place.parent / "other").mkdir()
    add_interfaces(SMALL, place.parent / "other", manage)
    with pytest.raises(LabError, match=r"is lab other's") as info:
        add_interfaces(SMALL, place, manage)
    assert "networks, management" in info.value.hint


def test_a_network_that_is_not_allowed_leaves_no_interface(told: Told, place: Path) -> None:
    def manage(*words: str, check: bool = True) -> Result:
        return told.run(["VBoxManage", *words], timeout=1, check=check)

    told.refuses = "Code E_ACCESSDENIED (0x80070005) - Access denied"
    with pytest.raises(CommandFailed, match="E_ACCESSDENIED") as info:
        add_interfaces(SMALL, place, manage)
    assert "doctor --provider virtualbox" in info.value.hint
    assert told.interfaces == {}


def test_links_are_cut_before_the_power(told: Told) -> None:
    node, name = SMALL.node("lb1"), "rackbox-small-lb1"
    told.machines[name] = "running"
    VirtualboxProvider().power_off(SMALL, node)
    verbs = [words[3:] for words in told.had("controlvm", name)]
    assert verbs == [[f"setlinkstate{number}", "off"] for number in range(2, len(node.nics) + 2)] + [["poweroff"]]
    told.words.clear()
    VirtualboxProvider().power_off(SMALL, node)
    assert told.had("controlvm") == [], "one that is off is left alone"


def test_power_on_puts_the_links_back_and_says_whether_it_was_off(told: Told) -> None:
    node, name = SMALL.node("lb1"), "rackbox-small-lb1"
    assert VirtualboxProvider().power_on(SMALL, node)
    (linked,) = told.had("modifyvm", name)
    assert linked[3:] == [word for n in range(2, len(node.nics) + 2) for word in (f"--cableconnected{n}", "on")]
    assert told.words.index(linked) < told.words.index(["VBoxManage", "startvm", name, "--type", "headless"])
    told.machines[name] = "running"
    assert not VirtualboxProvider().power_on(SMALL, node)


def test_what_is_paused_counts_as_running_and_as_frozen(told: Told, tmp_path: Path) -> None:
    paths = LabPaths(tmp_path, tmp_path, tmp_path)
    told.machines |= {"rackbox-small-lb1": "paused", "rackbox-small-lb2": "running", "rackbox-other-lb1": "paused"}
    provider = VirtualboxProvider()
    assert provider.running(SMALL, paths) == {"lb1", "lb2"}
    assert provider.frozen(SMALL, paths) == {"lb1"}
    provider.freeze(SMALL, SMALL.node("lb1"))
    provider.thaw(SMALL, SMALL.node("lb2"))
    assert told.had("controlvm") == [], "as they are already"


def test_disks_that_outlive_a_machine_are_taken_out_first(told: Told, tmp_path: Path) -> None:
    topology = shipped("default")
    node = topology.node("gluster1")
    paths = LabPaths(tmp_path, tmp_path, tmp_path)
    VirtualboxProvider().before_removal(topology, ["gluster1", "lb1"], paths)
    (taken,) = told.had("storageattach")
    assert taken[2] == "rackbox-default-gluster1"
    assert taken[-2:] == ["--medium", "none"]
    disk = own_disk(paths, node, node.own_disks[0])
    assert told.had("closemedium") == [["VBoxManage", "closemedium", "disk", str(disk)]]


def test_no_machine_is_left_when_the_lab_goes(told: Told, tmp_path: Path) -> None:
    told.machines |= {"rackbox-small-lb1": "running", "rackbox-small-gone9": "poweroff", "rackbox-other-lb1": "running"}
    VirtualboxProvider().forget_machines(SMALL, LabPaths(tmp_path, tmp_path, tmp_path))
    assert told.machines == {"rackbox-other-lb1": "running"}


def test_the_base_of_a_box_goes_with_it(told: Told, tmp_path: Path) -> None:
    remove_base(tmp_path)
    assert told.words == [], "no machine was ever made of it"
    (tmp_path / "master_id").write_text("18a331b8-4281\n")
    remove_base(tmp_path)
    assert told.words == [["VBoxManage", "unregistervm", "18a331b8-4281", "--delete"]]


def test_a_daemon_that_is_just_ending_is_asked_again(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    told.machines["rackbox-small-lb1"] = "running"
    paths = LabPaths(Path("/x"), Path("/x"), Path("/x"))
    told.starting = 2
    assert VirtualboxProvider().running(SMALL, paths) == {"lb1"}
    told.starting = 9
    with pytest.raises(CommandFailed, match="COM server"):
        VirtualboxProvider().running(SMALL, paths)
    assert told.starting == 6, "not for ever"


def test_somebody_else_who_looks_at_a_machine_is_waited_for(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    told.machines["rackbox-small-lb1"] = "paused"
    told.looked_at = 3
    paths = LabPaths(Path("/x"), Path("/x"), Path("/x"))
    assert VirtualboxProvider().frozen(SMALL, paths) == {"lb1"}
