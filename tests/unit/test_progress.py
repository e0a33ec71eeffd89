"""Steps and the board, on a console that is no terminal (a log) and on one that is."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from rackbox.progress import DONE, FAILED, RUNNING, MachineBoard, Steps


def console(terminal: bool = False) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=100, highlight=False, color_system=None), out


def test_a_step_is_told_when_it_ends_with_its_time() -> None:
    where, out = console()
    with Steps(where).step("networks made"):
        assert out.getvalue() == ""
    assert re.fullmatch(r"✓ networks made  \d+\.\d s\n", out.getvalue())


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
def test_a_step_that_fails_is_told_and_its_error_goes_on(error: BaseException) -> None:
    where, out = console()
    with pytest.raises(type(error)), Steps(where).step("networks made"):
        raise error
    assert out.getvalue().startswith("✗ networks made  ")


def test_names_are_printed_as_they_are() -> None:
    """A path may look like rich's own markup or an emoji."""
    where, out = console()
    with Steps(where).step("removed [red]lb1[/] :smile:"):
        pass
    assert "removed [red]lb1[/] :smile:" in out.getvalue()


def test_a_log_has_a_line_for_each_machine_s_end() -> None:
    where, out = console()
    with MachineBoard(where, ["lb1", "lb2"]) as board:
        board.update("lb1", RUNNING, "common/10-x.sh")
        board.update("lb1", DONE, "provisioned itself in 2.0 s")
        board.update("lb1", DONE, "provisioned itself in 2.0 s")
        board.update("lb2", FAILED, "failed in lb/[20]-y.sh")
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("✓ lb1        provisioned itself in 2.0 s")
    assert lines[1].startswith("✗ lb2        failed in lb/[20]-y.sh")


def test_who_is_unfinished() -> None:
    board = MachineBoard(console()[0], ["lb1", "lb2", "master1"])
    board.update("lb1", DONE, "")
    board.update("lb2", FAILED, "")
    assert board.unfinished() == ["lb2", "master1"]


def test_a_terminal_ends_with_a_table_of_all() -> None:
    where, out = console(terminal=True)
    with MachineBoard(where, ["lb1", "lb2"]) as board:
        board.update("lb1", DONE, "provisioned itself")
    text = out.getvalue()
    assert re.search(r"✓\s+lb1\s+provisioned itself", text)
    assert re.search(r"·\s+lb2\s+starting", text)


def test_no_machines_no_board() -> None:
    where, out = console()
    with MachineBoard(where, []):
        pass
    assert out.getvalue() == ""
