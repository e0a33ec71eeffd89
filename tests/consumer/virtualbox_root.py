"""Where a real VirtualBox is unpacked, and the box that it imports; see ``tests/consumer/virtualbox/unpack``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TOOLS = Path(__file__).parent / "virtualbox"


@pytest.fixture(scope="session")
def vbox_root() -> Path:
    named = os.environ.get("RACKBOX_TEST_VIRTUALBOX", "")
    if os.geteuid() != 0 or not (Path(named) / "usr/lib/virtualbox/VBoxManage").is_file() or not named:
        pytest.fail(
            "needs a VirtualBox in a directory of its own: as root, `tests/consumer/virtualbox/unpack DIRECTORY`, "
            f"then again with RACKBOX_TEST_VIRTUALBOX=DIRECTORY; got {named or 'nothing'}"
        )
    return Path(named).resolve()
