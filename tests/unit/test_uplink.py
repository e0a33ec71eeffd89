"""The uplink's choices, its rules, and what it remembers of the computer. Nothing is run here."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from rackbox import uplink
from rackbox.errors import LabError
from rackbox.place import Place
from rackbox.run import Result
from rackbox.uplink import SHARED, Uplink, add_uplink, choose_subnet, host_rules, inside_rules, remove_uplink
from tests.rendering import shipped

SUBNET = IPv4Network("100.64.0.0/30")


def test_the_same_lab_gets_the_same_subnet_and_another_another() -> None:
    assert choose_subnet("a", []) == choose_subnet("a", [IPv4Network("10.0.0.0/8")])
    assert choose_subnet("a", []) != choose_subnet("b", [])
    assert choose_subnet("a", []).subnet_of(SHARED)


def test_what_is_taken_is_left_alone() -> None:
    first = choose_subnet("a", [])
    second = choose_subnet("a", [first])
    assert not second.overlaps(first)
    half = next(iter(SHARED.subnets(1)))
    assert not choose_subnet("a", [half]).overlaps(half)


def test_no_room_is_an_error_of_ours() -> None:
    with pytest.raises(LabError, match="no free /30"):
        choose_subnet("a", [IPv4Network("0.0.0.0/0"), SHARED])


@pytest.mark.parametrize(("lab", "link"), [("small", "rb-small"), ("a" * 12, "rb-" + "a" * 12)])
def test_the_link_is_named_after_the_lab(lab: str, link: str) -> None:
    assert Uplink(lab, SUBNET).link == link


def test_a_long_name_is_shortened_and_stays_its_own() -> None:
    links = {Uplink("a" * 20 + end, SUBNET).link for end in "xyz"}
    assert len(links) == 3
    assert all(len(link) <= 15 for link in links)


def test_the_host_s_table_is_the_lab_s_own_and_knows_only_its_link() -> None:
    rules = host_rules(Uplink("small", SUBNET))
    assert rules.startswith("add table ip rackbox-small\ndelete table ip rackbox-small\n"), "safe to load again"
    assert rules.count("table ip") == 3
    assert "policy drop" not in rules, "other things that the computer forwards are not ours to stop"
    assert 'oifname "rb-small" ct state established,related accept\n    oifname "rb-small" drop' in rules


def test_inside_only_the_wan_leads_out() -> None:
    rules = inside_rules(["mgmt", "wan", "dmz"])
    accepted = [line.strip() for line in rules.splitlines() if line.endswith("accept") and "policy" not in line]
    assert accepted == [
        'iifname . oifname { "mgmt" . "mgmt", "wan" . "wan", "dmz" . "dmz" } accept',
        'iifname "wan" oifname "host_uplink" accept',
        'iifname "host_uplink" oifname "wan" ct state established,related accept',
    ]
    assert "policy drop" in rules


class Host:
    """Records what is run, and answers as a host without an uplink does."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails = ""

    def __call__(self, argv: Sequence[str], *, check: bool = True, **_: Any) -> Result:
        self.calls.append(" ".join(argv))
        if self.fails and self.fails in self.calls[-1]:
            raise LabError("it fails")
        return Result(tuple(argv), 0, "[]" if "-json" in argv else "", "", 0.0)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host()
    monkeypatch.setattr(uplink, "run", made)
    return made


@pytest.fixture
def forwarding(tmp_path: Path) -> Path:
    path = tmp_path / "ip_forward"
    path.write_text("0\n")
    return path


def place(tmp_path: Path, lab: str) -> Place:
    return Place(lab, tmp_path / "run" / lab)


def test_forwarding_is_put_back_when_the_last_uplink_goes(tmp_path: Path, host: Host, forwarding: Path) -> None:
    one, two = place(tmp_path, "one"), place(tmp_path, "two")
    for lab in (one, two):
        add_uplink(lab, shipped("small"), forwarding)
    remove_uplink(one, forwarding)
    assert forwarding.read_text() == "1", "the other lab needs it"
    remove_uplink(two, forwarding)
    assert forwarding.read_text() == "0"
    assert [path.name for path in (tmp_path / "run/uplinks").iterdir()] == ["lock"]


def test_forwarding_that_was_on_stays_on(tmp_path: Path, host: Host, forwarding: Path) -> None:
    forwarding.write_text("1\n")
    add_uplink(place(tmp_path, "one"), shipped("small"), forwarding)
    remove_uplink(place(tmp_path, "one"), forwarding)
    assert forwarding.read_text().strip() == "1"


def test_nothing_is_opened_before_the_rules_are_in_place(tmp_path: Path, host: Host, forwarding: Path) -> None:
    host.fails = "nft -f -"
    with pytest.raises(LabError):
        add_uplink(place(tmp_path, "one"), shipped("small"), forwarding)
    assert forwarding.read_text() == "0\n"
    host.fails = ""
    remove_uplink(place(tmp_path, "one"), forwarding)
    assert "ip link delete dev rb-one" in host.calls
    host.calls.clear()
    remove_uplink(place(tmp_path, "one"), forwarding)
    assert host.calls == [], "and nothing where there was none"


def test_a_lab_without_an_uplink_leaves_no_record(tmp_path: Path, host: Host, forwarding: Path) -> None:
    remove_uplink(place(tmp_path, "one"), forwarding)
    assert not (tmp_path / "run").exists()
