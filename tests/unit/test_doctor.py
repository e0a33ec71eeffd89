"""Doctor and preflight: what they conclude from what they are told, and real looks at this computer."""

from __future__ import annotations

import io
import json
import os
import time
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from rackbox import capabilities, doctor, tools
from rackbox.errors import CommandFailed, LabError, MissingTool
from rackbox.kvm import Kvm
from rackbox.paths import PROJECT, Home
from rackbox.run import Result
from rackbox.tools import (
    Check,
    Package,
    Release,
    check_package,
    check_tools,
    check_version,
    how_to_fix,
    load_packages,
    parse_release,
    parse_version,
    read_table,
    run_checks,
    run_probes,
)

HOME = Home(Path("/srv/rackbox"), Path("/run/rackbox"))
INSTALL = "apt-get update && apt-get install --no-install-recommends"
BOOKWORM = Release("debian", "12", "Debian 12")
TRIXIE = Release("debian", "13", "Debian 13")
NOBLE = Release("ubuntu", "24.04", "Ubuntu 24.04", ("debian",))
FEDORA = Release("fedora", "42", "Fedora 42")

VERSIONS = [
    ("Packer v1.6.6\n", (1, 6, 6)),
    ("Vagrant 2.3.4", (2, 3, 4)),
    ("5.0.2", (5, 0, 2)),
    ("mmdebstrap 1.3.5", (1, 3, 5)),
    ("Packer v1.11.2\n\nYour version of Packer is out of date! The latest\nis 1.12.0.", (1, 11, 2)),
    ("vagrant-lxc (1.4.3, system)", (1, 4, 3)),
    ("", None),
    ("usage: packer dictionary", None),
    ("version 7", None),
]


@pytest.mark.parametrize(("text", "version"), VERSIONS, ids=lambda value: str(value)[:20])
def test_versions_are_found(text: str, version: tuple[int, ...] | None) -> None:
    assert parse_version(text) == version


ANSWERS = [
    ("Packer v1.6.6", 0, True, "1.6.6"),
    ("Packer v1.10.0", 0, True, "1.10.0"),
    ("Packer v1.6.5", 0, False, "1.6.5"),
    ("Packer v1.6.6", 1, False, "exit 1"),
    ("cracklib 2.9.6", 0, False, "cracklib"),  # another program of that name
    ("Packer, no number", 0, False, "said 'Packer, no number'"),
    ("", 0, False, "said ''"),
]


@pytest.mark.parametrize(("answer", "code", "ok", "found"), ANSWERS)
def test_a_program_is_believed_only_if_it_answers_as_itself(
    monkeypatch: pytest.MonkeyPatch, answer: str, code: int, ok: bool, found: str
) -> None:
    monkeypatch.setattr(tools, "run", lambda argv, **_: Result(tuple(argv), code, answer, "", 0.0))
    check = check_version("packer", ["packer", "version"], (1, 6, 6), "Packer")
    assert check.ok == ok
    assert found in check.found
    assert (check.need, check.package) == ("1.6.6 or newer", "packer")


@pytest.mark.parametrize(
    ("error", "found"),
    [(MissingTool("packer: not found"), "not found"), (CommandFailed("packer: no end\nx"), "no end")],
)
def test_a_program_that_is_missing_or_hangs(monkeypatch: pytest.MonkeyPatch, error: LabError, found: str) -> None:
    def failing(*_: object, **__: object) -> Result:
        raise error

    monkeypatch.setattr(tools, "run", failing)
    check = check_version("packer", ["packer", "version"], (1, 6, 6), "Packer")
    assert not check.ok
    assert found in check.found


MISSING = [
    Check("packer", False, "not found", "1.6.6 or newer", package="packer"),
    Check("lxc", False, "not found", "4 or newer", package="lxc"),
    Check("vagrant-lxc", False, "not found", "any", package="vagrant-lxc"),
    Check("nftables", True, "there", "rules", package="nftables"),
    Check("disk", False, "1.0 GiB", "4 GiB", fix="make room"),
]

FIXES = [
    (BOOKWORM, [f"as root: {INSTALL} packer lxc vagrant-lxc", "disk: make room"]),
    (
        TRIXIE,
        ["recommends lxc   (names as in Debian 12", "packer: not in Debian 13", "VAGRANT_HOME=/srv/rackbox/vagrant"],
    ),
    (NOBLE, ["recommends lxc   (names as in Debian 12", "packer: not in Debian 13", "disk: make room"]),
    (FEDORA, ["programs on Fedora 42: lxc", "packer: ", "vagrant-lxc: "]),
]


@pytest.mark.parametrize(("release", "parts"), FIXES, ids=lambda value: getattr(value, "name", ""))
def test_the_way_out_suits_the_distribution(release: Release, parts: list[str]) -> None:
    text = "\n".join(how_to_fix(MISSING, release, HOME))
    for part in parts:
        assert part in text
    assert "nftables" not in text


def test_nothing_to_fix() -> None:
    assert how_to_fix([Check("root", True, "yes", "root", fix="run as root")], BOOKWORM, HOME) == []


@pytest.mark.parametrize(
    ("text", "release", "has_apt"),
    [
        ('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian 12"\n', BOOKWORM, True),
        ('# c\nID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04"', NOBLE, True),
        ("ID=fedora\nVERSION_ID=42\nPRETTY_NAME='Fedora 42'", FEDORA, False),
        ("", Release("unknown", "", "an unknown system"), False),
    ],
)
def test_os_release_is_read(text: str, release: Release, has_apt: bool) -> None:
    assert parse_release(text) == release
    assert release.has_apt == has_apt


def test_only_debian_12_is_debian_12() -> None:
    assert [r.is_debian_12 for r in (BOOKWORM, TRIXIE, NOBLE, FEDORA)] == [True, False, False, False]


def fake_checks(monkeypatch: pytest.MonkeyPatch, *checks: Check) -> None:
    monkeypatch.setattr(capabilities, "CHECKS", {"lxc": tuple(lambda check=check: check for check in checks)})
    monkeypatch.setattr(doctor, "NOTES", {})
    monkeypatch.setattr(tools, "find_release", lambda: BOOKWORM)
    monkeypatch.setattr(doctor, "find_release", lambda: BOOKWORM)


def test_the_preflight_names_all_that_is_missing_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_checks(monkeypatch, *MISSING)
    with pytest.raises(MissingTool) as info:
        check_tools("lxc")
    for check in MISSING:
        assert (check.name in info.value.message) == (not check.ok)
    assert "packer lxc vagrant-lxc" in info.value.hint
    assert info.value.exit_code == 3


def test_what_is_not_required_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_checks(monkeypatch, Check("memory", False, "1 GiB", "3 GiB", required=False))
    assert [check.ok for check in check_tools("lxc")] == [False]


def test_an_unknown_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LabError, match="no such provider: vmware") as info:
        run_checks("vmware")
    assert "lxc" in info.value.hint


@pytest.mark.parametrize("complete", [True, False])
def test_doctor_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], complete: bool) -> None:
    fake_checks(monkeypatch, *(check for check in MISSING if check.ok or not complete))
    assert doctor.command("lxc", as_json=True, lab_file=PROJECT / "config/small.yaml") == (0 if complete else 3)
    said = json.loads(capsys.readouterr().out)
    assert said["can_run"] is complete
    assert bool(said["fixes"]) is not complete
    assert [check["required"] for check in said["checks"] if check["name"] == "networks"] == [False]
    assert all(check.keys() == {"name", "ok", "required", "found", "need", "package"} for check in said["checks"])


def test_doctor_tells_of_a_lab_s_file_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fake_checks(monkeypatch)
    assert doctor.command("lxc", as_json=True, lab_file=tmp_path / "none.yaml") == 0
    (check,) = (check for check in json.loads(capsys.readouterr().out)["checks"] if check["name"] == "lab")
    assert "none.yaml" in check["found"]


@pytest.mark.parametrize(
    ("written", "asked", "looked"),
    [("libvirt", "", "libvirt"), ("auto", "", "lxc"), ("libvirt", "lxc", "lxc"), ("a: [", "", "lxc")],
)
def test_doctor_looks_at_the_provider_of_the_lab_s_file(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    written: str,
    asked: str,
    looked: str,
) -> None:
    seen: list[str] = []

    def look(provider: str) -> list[Check]:
        seen.append(provider)
        return []

    monkeypatch.setattr(doctor, "run_checks", look)
    monkeypatch.setattr(doctor, "run_probes", lambda _: [])
    file = tmp_path / "lab.yaml"
    file.write_text(f"name: told\nprovider: {written}\nnodes: {{gateway: }}\n")
    doctor.command(asked, as_json=True, lab_file=file)
    assert seen == [looked]
    assert json.loads(capsys.readouterr().out)["provider"] == looked


def test_doctor_prints_what_is_missing_and_the_line_to_paste(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    doctor.print_doctor("lxc", BOOKWORM, MISSING, how_to_fix(MISSING, BOOKWORM, HOME), console)
    text = console.export_text()
    assert "✗  packer" in text
    assert "✓  nftables" in text
    assert f"as root: {INSTALL} packer lxc vagrant-lxc\n" in text, "never broken over lines: it is to be pasted"


def test_available_memory_is_read() -> None:
    assert capabilities.parse_available_kib("MemTotal: 9 kB\nMemAvailable:    3145728 kB\n") == 3 * 2**20
    assert capabilities.parse_available_kib("MemTotal: 9 kB\n") == 0


def test_no_root_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    checks = run_probes([capabilities.check_root, capabilities.check_network_namespace, capabilities.check_nft])
    assert [check.ok for check in checks] == [False, False, False]
    assert [bool(check.fix) for check in checks] == [True, False, False]


def test_the_checks_run_at_the_same_time() -> None:
    def slow(name: str) -> Check:
        time.sleep(0.2)
        return Check(name, True, "", "")

    started = time.monotonic()
    assert [check.name for check in run_probes([partial(slow, str(n)) for n in range(8)])] == list("01234567")
    assert time.monotonic() - started < 0.8


@pytest.mark.parametrize("need", ["python", "lxc", "libvirt", "vm", "test", "vm-test"])
def test_the_package_lists_are_whole(need: str) -> None:
    packages = load_packages(need)
    assert packages
    assert len({package.name for package in packages}) == len(packages)
    assert [package.name for package in packages if not package.why] == []


def test_elsewhere_speaks_of_packages_that_are_asked_for() -> None:
    asked = {package.name for need in ("lxc", "libvirt") for package in load_packages(need)}
    assert {row[0] for row in read_table("elsewhere")} <= asked


def test_lab_and_doctor_read_the_same_lists() -> None:
    assert "packaging/apt/" in (PROJECT / "lab").read_text(encoding="utf-8")


def test_a_package_is_seen_by_command_or_by_path(tmp_path: Path) -> None:
    (tmp_path / "gem-1.4").mkdir()
    assert check_package(Package("x", "sh", "why")).ok
    assert check_package(Package("x", f"{tmp_path}/gem-*", "why")).ok
    assert not check_package(Package("x", "no-such-command", "why")).ok
    assert not check_package(Package("x", f"{tmp_path}/other-*", "why")).ok


@pytest.mark.subprocess
def test_a_real_look_is_quick_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RACKBOX_HOME", str(tmp_path / "home"))
    before = _links()
    started = time.monotonic()
    checks = run_checks("lxc")
    assert time.monotonic() - started < 5  # 0.5 s here; the limit is for a loaded CI
    assert _links() == before
    assert list(tmp_path.iterdir()) == []
    assert all(check.found and check.need for check in checks)


def _links() -> list[str]:
    return sorted(os.listdir("/sys/class/net"))


@pytest.mark.parametrize(
    ("version", "kvm", "ok"),
    [((7, 2, 0), False, False), ((7, 2, 0), True, True), ((10, 0, 2), False, True), ((), True, False)],
)
def test_old_qemu_is_refused_for_emulation(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], kvm: bool, ok: bool
) -> None:
    monkeypatch.setattr(capabilities, "qemu_version", lambda: version)
    monkeypatch.setattr(capabilities, "prove_kvm", lambda: Kvm(kvm, "tried"))
    check = capabilities.check_qemu()
    assert check.ok is ok
    assert "7.2 corrupts" in check.need
    fix = "\n".join(how_to_fix([check], BOOKWORM, HOME))
    assert ok or ("--target-release=bookworm-backports qemu-system-x86" in fix and "backports must be among" in fix)
    elsewhere = "\n".join(how_to_fix([check], tools.Release("debian", "13", "Debian 13"), HOME))
    assert ok or "qemu-system-x86 " in f"{elsewhere} "
    assert "bookworm-backports" not in elsewhere


def test_kvm_that_does_not_work_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "prove_kvm", lambda: Kvm(False, "hardly runs"))
    assert not capabilities.check_kvm_works().ok
    told = capabilities.check_accelerator()
    assert told.ok
    assert "emulated" in told.found
    assert "hardly runs" in told.found
