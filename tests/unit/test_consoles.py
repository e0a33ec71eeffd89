"""Tables in a pipe or a file are not cut at 80 columns, and names never."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from rackbox.consoles import WIDTH, open_console
from rackbox.plan import print_plan
from rackbox.repertoire import list_scenarios, render_scenarios
from tests.rendering import shipped


@pytest.mark.parametrize(
    ("env", "width"), [({}, WIDTH), ({"COLUMNS": "40"}, WIDTH), ({"COLUMNS": "200"}, 200), ({"COLUMNS": "x"}, WIDTH)]
)
@pytest.mark.parametrize("stderr", [False, True])
def test_the_width_where_there_is_no_terminal(env: dict[str, str], width: int, stderr: bool) -> None:
    console = open_console(stderr=stderr, env=env)
    assert console.width == width
    assert console.stderr is stderr


def printed(renderable: RenderableType, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(renderable)
    return out.getvalue()


@pytest.mark.parametrize("width", [80, WIDTH])
def test_a_scenario_s_name_is_whole(width: int) -> None:
    topology = shipped("small")
    rows = list_scenarios(topology)
    text = printed(render_scenarios(rows), width)
    assert "…" not in text
    for row in rows:
        assert str(row["name"]) in text


@pytest.mark.parametrize("width", [80, WIDTH])
def test_a_plan_s_names_and_addresses_are_whole(width: int) -> None:
    topology = shipped("default")
    lb1 = topology.node("lb1")
    topology = replace(topology, nodes=(*topology.nodes, replace(lb1, name="a-load-balancer-in-the-north")))
    out = io.StringIO()
    print_plan(topology, Console(file=out, width=width))
    for node in topology.nodes:
        assert node.name in out.getvalue()
        if width == WIDTH:
            assert all(nic.mac in out.getvalue() for nic in node.lab_nics)
