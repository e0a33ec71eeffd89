"""Defect 1 of the reference set-ups: keys and passwords in git, the same for everybody. Here each lab has its own, no
rendered file holds one that everybody knows, and a file that holds any is readable by its owner alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rackbox.credentials import Credentials, ensure_credentials
from rackbox.hooks import load_sources
from rackbox.load import load_topology
from rackbox.paths import PROJECT
from rackbox.render import VagrantTarget, render_lab
from rackbox.templating import RenderedFile
from tests.unit.test_repo_hygiene import INSECURE_VAGRANT_KEY, KNOWN_PASSWORD

TOPOLOGY = load_topology(PROJECT / "config" / "small.yaml")
Lab = tuple[Credentials, dict[str, RenderedFile]]


def make_lab(secrets: Path) -> Lab:
    credentials = ensure_credentials(TOPOLOGY, secrets)
    lines: dict[str, tuple[()]] = {node.name: () for node in TOPOLOGY.nodes}
    return credentials, render_lab(TOPOLOGY, credentials, lines, load_sources(), VagrantTarget("lxc", "rackbox/box"))


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lab, Lab]:
    first, second = (make_lab(tmp_path_factory.mktemp("lab") / "secrets") for _ in range(2))
    return first, second


def private_parts(credentials: Credentials) -> list[str]:
    """A line out of the middle of each secret: what a grep would find, whatever indents it."""
    pairs = (credentials.authority, credentials.client, *credentials.certificates.values())
    keys = [pair.key for pair in pairs] + [key.private for key in (credentials.ssh, *credentials.host_keys.values())]
    return [middle(key) for key in keys] + [credentials.stats_password]


def middle(key: str) -> str:
    lines = key.splitlines()
    return lines[len(lines) // 2]


def test_defect_01_no_rendered_file_holds_a_password_that_everybody_knows(labs: tuple[Lab, Lab]) -> None:
    (_, files), _ = labs
    for name, file in files.items():
        assert not KNOWN_PASSWORD.search(file.data), name
        assert INSECURE_VAGRANT_KEY not in file.data, name


def test_defect_01_two_labs_share_no_secret(labs: tuple[Lab, Lab]) -> None:
    (first, _), (second, files) = labs
    assert not set(private_parts(first)) & set(private_parts(second))
    assert first.corosync_authkey != second.corosync_authkey
    for part in private_parts(first):
        assert [name for name, file in files.items() if part.encode() in file.data] == []


def test_a_file_that_holds_a_secret_is_its_owners_alone(labs: tuple[Lab, Lab]) -> None:
    (credentials, files), _ = labs
    open_to_others = {
        name
        for name, file in files.items()
        for part in private_parts(credentials)
        if file.mode & 0o077 and part.encode() in file.data
    }
    assert open_to_others == set()


def test_the_authoritys_key_never_leaves_the_host(labs: tuple[Lab, Lab]) -> None:
    (credentials, files), _ = labs
    part = middle(credentials.authority.key).encode()
    assert [name for name, file in files.items() if part in file.data] == []


def test_the_secrets_on_disk_are_their_owners_alone(tmp_path: Path) -> None:
    make_lab(tmp_path / "secrets")
    wrong = [
        f"{path.relative_to(tmp_path)} {path.stat().st_mode & 0o777:o}"
        for path in [tmp_path / "secrets", *(tmp_path / "secrets").rglob("*")]
        if path.stat().st_mode & 0o077
    ]
    assert wrong == []


def test_secrets_do_not_show_in_a_repr(labs: tuple[Lab, Lab]) -> None:
    (credentials, files), _ = labs
    said = f"{credentials!r} {[repr(file) for file in files.values()]}"
    assert [part[:8] for part in private_parts(credentials) if part in said] == []


def test_the_password_is_long_and_plain(labs: tuple[Lab, Lab]) -> None:
    (credentials, _), _ = labs
    assert re.fullmatch(r"[A-Za-z0-9_-]{20,}", credentials.stats_password)
