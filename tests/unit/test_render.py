"""Rendering: what the files hold, where they go, and that work grows with the number of machines and no faster."""

from __future__ import annotations

import stat
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from rackbox.errors import LabError
from rackbox.hooks import load_sources
from rackbox.render import escape_unit_path, render_env, write_rendered
from rackbox.templating import RenderedFile
from tests.rendering import render, rendered, shipped, text


@pytest.mark.parametrize("lab", ["small", "default"])
def test_each_machine_has_its_seed(lab: str) -> None:
    files = rendered(lab)
    assert {"Vagrantfile", "known_hosts", "ssh_config"} <= set(files)
    for node in shipped(lab).nodes:
        assert {f"nodes/{node.name}/{name}" for name in ("user-data", "meta-data", "network-config")} <= set(files)
        assert files[f"nodes/{node.name}/user-data"].mode == 0o600


def test_each_file_says_what_made_it() -> None:
    for name, file in rendered("default").items():
        head = file.data.decode().splitlines()[:5]
        assert any("rackbox" in line for line in head), name


def test_files_in_the_machine_are_those_shown_beside_it() -> None:
    for node in shipped("default").nodes:
        entries = yaml.safe_load(text("default", f"nodes/{node.name}/user-data"))["write_files"]
        dropped = {entry["path"]: entry for entry in entries}
        prefix = f"nodes/{node.name}/files"
        shown = {
            name.removeprefix(prefix): file for name, file in rendered("default").items() if name.startswith(prefix)
        }
        assert shown
        for path, file in shown.items():
            assert dropped[path]["content"] == file.content
            assert dropped[path]["permissions"] == f"{file.mode:04o}"


def test_only_a_roles_own_hooks_are_dropped() -> None:
    entries = yaml.safe_load(text("default", "nodes/worker1/user-data"))["write_files"]
    hooks = [entry["path"] for entry in entries if entry["path"].startswith("/usr/local/lib/rackbox/")]
    assert "/usr/local/lib/rackbox/run-hooks" in hooks
    assert any(path.startswith("/usr/local/lib/rackbox/common/") for path in hooks)
    assert any(path.startswith("/usr/local/lib/rackbox/worker/") for path in hooks)
    assert not any("/lb/" in path or "/gluster/" in path for path in hooks)
    assert all(entry["permissions"] == "0755" for entry in entries if "/common/" in entry["path"])


def test_the_instance_changes_with_what_the_machine_is_told_and_only_then() -> None:
    def instance(lab: str, name: str) -> str:
        return str(yaml.safe_load(text(lab, f"nodes/{name}/meta-data"))["instance-id"])

    assert instance("small", "lb1") != instance("small", "lb2")
    again = render(shipped("small"))
    assert again == rendered("small")


def test_the_documented_variables_are_the_rendered_ones() -> None:
    table = (Path(__file__).parents[2] / "provision" / "README.md").read_text()
    for node in shipped("default").nodes:
        for variable in render_env(shipped("default"), node):
            assert f"| `{variable}` |" in table


def test_no_gluster_no_mount() -> None:
    env = render_env(shipped("small"), shipped("small").node("master1"))
    assert env["RACKBOX_GLUSTER_MOUNT"] == ""
    assert not [name for name in rendered("small") if name.endswith(".mount")]
    assert [name for name in rendered("default") if name.endswith(".mount")]


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/", "-"),
        ("/mnt/shared", "mnt-shared"),
        ("/srv//my-data/", r"srv-my\x2ddata"),
        ("/.x", r"\x2ex"),
        ("/ü", r"\xc3\xbc"),
    ],
)
def test_unit_names_of_paths(path: str, unit: str) -> None:
    assert escape_unit_path(path) == unit


def test_a_name_that_templates_do_not_know_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"Vagrantfile\.j2"):
        load_sources(tmp_path)


def test_written_files_have_their_modes_and_stay_untouched(tmp_path: Path) -> None:
    files = {"a/b": RenderedFile("text\n", 0o600), "c": RenderedFile(b"\x00", 0o755)}
    assert write_rendered(files, tmp_path / "out") == ("a/b", "c")
    assert stat.S_IMODE((tmp_path / "out/a/b").stat().st_mode) == 0o600
    before = (tmp_path / "out/c").stat().st_mtime_ns
    assert write_rendered(files, tmp_path / "out") == ()
    assert (tmp_path / "out/c").stat().st_mtime_ns == before
    assert write_rendered(files | {"c": RenderedFile(b"\x01", 0o755)}, tmp_path / "out") == ("c",)
    assert sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file()) == ["b", "c"]


@pytest.mark.subprocess
@pytest.mark.parametrize("lab", ["small", "default"])
def test_ruby_reads_the_vagrantfile(lab: str, tmp_path: Path) -> None:
    (tmp_path / "Vagrantfile").write_text(text(lab, "Vagrantfile"))
    done = subprocess.run(
        ["ruby", "-wc", str(tmp_path / "Vagrantfile")], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Syntax OK\n", "")


def test_rendering_is_linear() -> None:
    """A loose bound, so that a quadratic loop is seen and a slow computer is not; figures are in benchmarks/."""
    import dataclasses

    topology = shipped("default")
    worker = topology.node("worker1")
    workers = tuple(
        dataclasses.replace(worker, name=f"worker{number}", fqdn=f"worker{number}.kube.demo")
        for number in range(1, 901)
    )
    others = tuple(node for node in topology.nodes if node.role != "worker")
    large = dataclasses.replace(topology, nodes=others + workers)
    started = time.monotonic()
    files = render(large)
    assert time.monotonic() - started < 10
    assert len(files) > 900 * 5
