"""The guard of the fast tier bites."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest


def test_a_program_raises() -> None:
    with pytest.raises(AssertionError, match="starts a program"):
        subprocess.run(["true"], check=False)


def test_a_shell_raises() -> None:
    with pytest.raises(AssertionError, match="starts a program"):
        os.system("true")


def test_a_socket_raises() -> None:
    with socket.socket() as sock, pytest.raises(AssertionError, match="opens a connection"):
        sock.connect(("127.0.0.1", 1))


@pytest.mark.subprocess
def test_a_marked_test_may_start_a_program() -> None:
    assert subprocess.run([sys.executable, "-c", ""], check=False).returncode == 0
