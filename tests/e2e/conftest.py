"""The labs that the end-to-end tests share: the default one for the whole session, and a small one beside it.

Files run in the order of their names, tests in that of their lines; each leaves the lab as it found it, so that any one
of them can be run alone (`./lab test --e2e -- tests/e2e -k gluster`). Whatever happens, labs are taken down in the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from rackbox.errors import LabError
from tests.e2e.host import Traces, host_traces
from tests.e2e.labs import BUILD_SECONDS, LabUnderTest, derive_lab

# Loose: what a shared computer with two cores keeps on a bad day. Figures come from benchmarks, not from here.
BUDGETS = {"haproxy-killed": "3s", "holder-powered-off": "8s", "etcd-leader-powered-off": "8s"}
HEALTHY_SECONDS = 60.0


@pytest.fixture(scope="session")
def lab_name() -> str:
    """Two test runs on one computer do not meet."""
    return f"e2e-{os.getpid()}"


@pytest.fixture(scope="session")
def host_before(lab_name: str) -> Traces:
    """This computer before the first lab of the session."""
    if os.geteuid() != 0:
        pytest.skip("booting machines needs root")
    return host_traces()


@pytest.fixture(scope="session")
def default_lab(lab_name: str, host_before: Traces, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """The default lab, up. The box is built if there is none."""
    file = tmp_path_factory.mktemp("default") / "lab.yaml"
    changes = {"dns": {"upstream": ["198.51.100.1"]}, "failover": {"budgets": BUDGETS}}
    lab = derive_lab("default", lab_name, file, changes)
    try:
        lab.up(timeout=BUILD_SECONDS)
        yield lab
    finally:
        _take_away(lab)


@pytest.fixture
def lab(default_lab: LabUnderTest) -> LabUnderTest:
    """The default lab, healthy: what the test before did to it is over."""
    try:
        default_lab.live.wait_healthy(HEALTHY_SECONDS)
    except LabError:
        default_lab.up(timeout=BUILD_SECONDS)
    return default_lab


@pytest.fixture(scope="module")
def second_lab(
    lab_name: str, default_lab: LabUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LabUnderTest]:
    """Another lab with the same addresses, not up yet."""
    lab = derive_lab("small", f"{lab_name}-two", tmp_path_factory.mktemp("second") / "lab.yaml", {})
    try:
        yield lab
    finally:
        _take_away(lab)


def _take_away(lab: LabUnderTest) -> None:
    lab.down()
    for path in sorted(lab.live.paths.runs.glob("**/*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    if lab.live.paths.runs.is_dir():
        lab.live.paths.runs.rmdir()
