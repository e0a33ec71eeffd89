"""`down` of the last lab leaves this computer as it was found. The last test: the session's lab ends here."""

from __future__ import annotations

import pytest

from tests.e2e.host import Traces, host_traces, left_behind, other_labs
from tests.e2e.labs import LabUnderTest


@pytest.mark.timeout(120, func_only=True)
def test_down_leaves_the_computer_as_it_was(lab: LabUnderTest, lab_name: str, host_before: Traces) -> None:
    paths = lab.live.paths
    lab.down()
    assert left_behind(host_before, lab_name) == {}
    assert not paths.root.exists()
    assert not paths.runtime.exists()
    after = host_traces()
    if other_labs(host_before, lab_name) or other_labs(after, lab_name):
        pytest.skip("another lab is or was up on this computer: what the last one puts back cannot be told")
    assert after["limits"] == host_before["limits"]
    assert after["forwarding"] == host_before["forwarding"]
    for kind in ("mounts", "links", "namespaces", "runtime"):
        assert after[kind] - host_before[kind] == set()
