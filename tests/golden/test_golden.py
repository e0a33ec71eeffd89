"""Every rendered file of the shipped labs (of some, what is their own), compared with the one in ``expected/``.

A change is looked at in git's diff: ``pytest tests/golden --update-golden``, then ``git diff tests/golden/expected``.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from rackbox.layout import load_layout, render_disk
from tests.rendering import render, shipped

EXPECTED = Path(__file__).parent / "expected"


# Which files of which lab: of those that differ in the balancers' stack only, the balancers' own.
LABS: dict[str, str | tuple[str, ...]] = {
    "small": "",
    "default": "",
    "keepalived": "nodes/lb",
    "reference-keepalived": "nodes/lb1/files/",
    "reference-pacemaker": "nodes/lb1/files/",
    "kubernetes": (
        "nodes/gateway/files/etc/dnsmasq.d/",
        "nodes/lb1/files/etc/haproxy",
        "nodes/master1/",
        "nodes/worker1/",
    ),
    "kubernetes-docker": (
        "nodes/master1/files/etc/rackbox/kubernetes/kubeadm",
        "nodes/worker1/files/etc/docker/",
        "nodes/worker1/files/usr/local/lib/rackbox/",
        "nodes/worker1/files/etc/rackbox/env",
        "nodes/worker1/files/etc/systemd/system/",
        "nodes/worker1/files/var/lib/kubelet/",
    ),
    "kubernetes-stacked": ("nodes/master1/files/etc/rackbox/kubernetes/kubeadm",),
}


def test_the_disk_of_a_virtual_machine(request: pytest.FixtureRequest) -> None:
    compare("disk", {name: text.encode() for name, text in render_disk(load_layout()).items()}, request)


@pytest.mark.parametrize("lab", LABS)
def test_rendered_files_are_as_expected(lab: str, request: pytest.FixtureRequest) -> None:
    rendered = render(shipped(lab), hook_text=False)
    files = {f"{name}.{file.mode:04o}": file.data for name, file in rendered.items() if name.startswith(LABS[lab])}
    compare(lab, files, request)


def compare(lab: str, files: Mapping[str, bytes], request: pytest.FixtureRequest) -> None:
    directory = EXPECTED / lab
    known = {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }
    if request.config.getoption("--update-golden", default=False) and files != known:
        shutil.rmtree(directory, ignore_errors=True)
        for name, data in files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(data)
        pytest.fail(
            f"golden files of {lab} rewritten: look at `git diff {directory}`, then run without --update-golden"
        )
    hint = "if the change is meant: pytest tests/golden --update-golden"
    assert sorted(files) == sorted(known), hint
    for name, data in files.items():
        assert data.decode() == known[name].decode(), f"{lab}/{name}: {hint}"
