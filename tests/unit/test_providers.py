"""Which provider runs a lab: `auto` asks, and a name that there is not is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rackbox.capabilities import CHECKS
from rackbox.config import PROVIDERS as CONFIG_NAMES
from rackbox.errors import EXIT_COULD_NOT_RUN
from rackbox.paths import PROJECT
from rackbox.providers import (
    AUTO_ORDER,
    CLUSTERS,
    PROVIDERS,
    UNASKED,
    NoSuchProvider,
    open_provider,
    prove_provider,
)
from rackbox.show import find_others, plan_command
from rackbox.tools import Check, can_run


def test_each_name_that_a_config_may_have_is_there() -> None:
    assert set(CONFIG_NAMES) == {"auto", *PROVIDERS}


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


@pytest.mark.parametrize("name", ["vmware", ""])
def test_a_provider_that_is_not_there(name: str) -> None:
    with pytest.raises(NoSuchProvider, match=r"^provider: ") as info:
        open_provider(name)
    assert info.value.exit_code == EXIT_COULD_NOT_RUN
    assert "lxc" in info.value.message
    assert "provider: auto" in info.value.hint


def test_a_plan_shows_what_its_provider_can(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also of a provider that cannot run here: whoever plans may boot it elsewhere."""
    file = tmp_path / "lab.yaml"
    file.write_text("name: virtual\nprovider: virtualbox\nnodes: {gateway: {}, worker: {count: 1}}\n")
    assert plan_command(file, as_json=True, out=None) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["provider"] == "virtualbox"
    assert [machine["name"] for machine in found["machines"]] == ["gateway", "worker1"]
    assert {row["name"]: row["able"] for row in found["capabilities"]} == {
        item.name: item.available for item in open_provider("virtualbox").capabilities
    }
    assert plan_command(file, as_json=False, out=None) == 0
    assert "needs VT-x or AMD-V" in capsys.readouterr().out


def test_a_plan_says_that_a_provider_has_no_clusters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (PROJECT / "config/kubernetes-small.yaml").read_text()
    (tmp_path / "lab.yaml").write_text(f"provider: libvirt\n{text}")
    assert plan_command(tmp_path / "lab.yaml", as_json=False, out=None) == 0
    assert "Kubernetes not with provider libvirt, which has no clusters yet" in capsys.readouterr().out
    assert {
        name: [c.available for c in open_provider(name).capabilities if c.name == CLUSTERS] for name in PROVIDERS
    } == {
        "lxc": [True],
        "libvirt": [False],
        "virtualbox": [False],
    }


def test_rendering_names_what_is_another_lab_s(tmp_path: Path) -> None:
    for name in ("Vagrantfile", "nodes/lb1/user-data", "nodes/lb9/user-data", "nodes/lb1/more", ".git/config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_others(["Vagrantfile", "nodes/lb1/user-data"], tmp_path) == ["nodes/lb1/more", "nodes/lb9"]
