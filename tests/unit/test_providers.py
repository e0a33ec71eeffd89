"""Which provider runs a lab: `auto` asks, a name that this release lacks is told, and can be planned all the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rackbox.capabilities import CHECKS
from rackbox.config import PROVIDERS as CONFIG_NAMES
from rackbox.errors import EXIT_COULD_NOT_RUN
from rackbox.providers import AUTO_ORDER, PLANNED, PROVIDERS, UNASKED, NoSuchProvider, open_provider, prove_provider
from rackbox.show import plan_command, render_command
from rackbox.tools import Check, can_run


def test_each_name_that_a_config_may_have_is_there_or_planned() -> None:
    assert set(CONFIG_NAMES) == {"auto", *PROVIDERS, *PLANNED}


def test_each_provider_has_checks_and_its_own_name() -> None:
    for name in PROVIDERS:
        assert name in CHECKS
        assert open_provider(name).name == name
    assert set(AUTO_ORDER) <= set(CHECKS)
    assert {name.partition("+")[0] for name in AUTO_ORDER} <= set(PROVIDERS)


def test_auto_is_what_needs_no_proof_where_nothing_is_asked() -> None:
    assert open_provider("auto").name == UNASKED


def test_containers_come_before_emulated_machines_and_after_fast_ones() -> None:
    assert prove_provider("auto", lambda name: True) == "libvirt"
    assert prove_provider("auto", lambda name: name != "libvirt+kvm") == "lxc"
    assert prove_provider("auto", lambda name: name == "libvirt") == "libvirt"


@pytest.mark.parametrize(
    ("able", "chosen", "asked"),
    [
        ({"a", "b", "c"}, "a", ["a"]),
        ({"b", "c"}, "b", ["a", "b"]),
        ({"c"}, "c", ["a", "b"]),
        (set(), "c", ["a", "b"]),
    ],
)
def test_auto_takes_the_first_that_works_and_asks_none_in_vain(able: set[str], chosen: str, asked: list[str]) -> None:
    """The last is not asked: if it does not work either, the preflight that follows says so and why."""
    calls: list[str] = []

    def works(name: str) -> bool:
        calls.append(name)
        return name in able

    assert prove_provider("auto", works, ("a", "b", "c")) == chosen
    assert calls == asked


def test_a_name_is_taken_at_its_word() -> None:
    def works(name: str) -> bool:
        raise AssertionError(f"{name} was asked")

    assert prove_provider("lxc", works) == "lxc"


def test_only_what_is_required_stops_a_provider() -> None:
    fine, missing = Check("a", True, "", ""), Check("b", False, "", "")
    assert can_run([fine, Check("c", False, "", "", required=False)])
    assert not can_run([fine, missing])


@pytest.mark.parametrize("name", [*PLANNED, "vmware", ""])
def test_a_provider_that_is_not_there(name: str) -> None:
    with pytest.raises(NoSuchProvider, match=r"^provider: ") as info:
        open_provider(name)
    assert info.value.exit_code == EXIT_COULD_NOT_RUN
    assert "lxc" in info.value.message
    assert "provider: auto" in info.value.hint


@pytest.fixture
def planned_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RACKBOX_HOME", str(tmp_path / "home"))
    file = tmp_path / "lab.yaml"
    file.write_text("name: virtual\nprovider: virtualbox\nnodes: {gateway: {}, worker: {count: 1}}\n")
    return file


def test_a_lab_of_another_provider_can_be_planned(planned_lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan_command(planned_lab, as_json=True, out=None) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["provider"] == "virtualbox"
    assert [machine["name"] for machine in found["machines"]] == ["gateway", "worker1"]
    assert found["capabilities"] == [
        {"name": "runs here", "able": False, "note": "virtualbox is not in this release; there is lxc, libvirt"}
    ]
    assert plan_command(planned_lab, as_json=False, out=None) == 0
    assert "not in this release" in capsys.readouterr().out


def test_but_not_rendered_and_nothing_is_left_behind(planned_lab: Path, tmp_path: Path) -> None:
    with pytest.raises(NoSuchProvider, match="virtualbox is not in this release"):
        render_command(planned_lab, tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["lab.yaml"]
