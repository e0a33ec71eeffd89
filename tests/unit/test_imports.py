"""The direction of imports: the pure core does not act, and knows nothing that acts, however far one follows."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from rackbox.paths import PROJECT

PURE_CORE = (
    "addresses",
    "config",
    "doubts",
    "durations",
    "health",
    "history",
    "holding",
    "junit",
    "lanes",
    "layout",
    "machinesmoke",
    "measures",
    "noticing",
    "outage",
    "ovf",
    "picture",
    "plan",
    "promises",
    "readback",
    "render",
    "report",
    "report_html",
    "templating",
    "topology",
    "verdict",
    "yamlfile",
)
ACTS = {
    "asyncio",
    "http",
    "invoke",
    "multiprocessing",
    "requests",
    "shutil",
    "signal",
    "socket",
    "subprocess",
    "threading",
    "time",
    "urllib",
    "vagrant",
}
MAY_START_PROGRAMS = {
    "background": "starts processes that outlive the command",
    "bootproof": "asks a machine while it runs",
    "run": "the one wrapper",
    "demo": "streams an image into a machine",
    "follow": "reads a machine's progress while it is made",
    "gate": "reads a box's tree as it is unpacked",
    "probes.process": "a probe runs beside the test and is read while it does",
    "kubeconfig": "hands its terminal to kubectl",
    "ssh": "hands its terminal to the program",
    "upgrade": "streams an image into a machine",
    "standin": "its namespace lives as long as a process that ends with us",
    "vagrant_adapter": "python-vagrant raises subprocess's errors",
}
"""Modules that touch ``subprocess`` themselves, and why. One more needs a reason as good."""


def module_file(name: str) -> Path | None:
    """The file of ``rackbox.x.y``, None for a module that is not ours."""
    path = PROJECT / Path(*name.split("."))
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None


@cache
def imports_of(name: str) -> frozenset[str]:
    """What a module of ours imports at its top level (imports for types only do not count)."""
    path = module_file(name)
    assert path is not None
    found: set[str] = set()
    for node in _executed(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {
                f"{node.module}.{alias.name}" if module_file(f"{node.module}.{alias.name}") else node.module
                for alias in node.names
            }
    return frozenset(found)


def _executed(body: list[ast.stmt]) -> list[ast.AST]:
    nodes: list[ast.AST] = []
    for statement in body:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            continue
        nodes += ast.walk(statement)
    return nodes


def reachable(name: str) -> dict[str, tuple[str, ...]]:
    """Everything that importing ``name`` imports through our own modules, each with the way there."""
    ways: dict[str, tuple[str, ...]] = {name: (name,)}
    queue = [name]
    while queue:
        current = queue.pop()
        if module_file(current) is None:
            continue
        for imported in imports_of(current):
            if imported not in ways:
                ways[imported] = (*ways[current], imported)
                queue.append(imported)
    return ways


@pytest.mark.parametrize("module", PURE_CORE)
def test_the_pure_core_imports_nothing_that_acts(module: str) -> None:
    assert module_file(f"rackbox.{module}"), f"rackbox.{module} is gone: take it out of PURE_CORE, or bring it back"
    guilty = [" → ".join(way) for name, way in reachable(f"rackbox.{module}").items() if name.split(".")[0] in ACTS]
    assert not guilty, guilty


@pytest.mark.parametrize("module", PURE_CORE)
def test_the_pure_core_does_not_know_the_edge(module: str) -> None:
    edge = {"rackbox.run", "rackbox.wait", "rackbox.program", "rackbox.task", "rackbox.providers", "rackbox.up"}
    assert not edge & reachable(f"rackbox.{module}").keys()


def test_only_tasks_and_the_program_know_invoke() -> None:
    knowing = {name for name in our_modules() if any(i.split(".")[0] == "invoke" for i in imports_of(name))}
    assert knowing <= {"rackbox.program", "rackbox.task"}


def test_one_wrapper_starts_programs() -> None:
    starters = {name for name in our_modules() if "subprocess" in imports_of(name)}
    assert starters <= {f"rackbox.{module}" for module in MAY_START_PROGRAMS}


def test_tasks_is_a_switchboard() -> None:
    assert len((PROJECT / "tasks.py").read_text(encoding="utf-8").splitlines()) < 150


@pytest.mark.parametrize("path", sorted((PROJECT / "rackbox").rglob("*.py")), ids=lambda path: path.name)
def test_each_module_says_what_it_is_and_never_exits(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "no module docstring"
    body = [statement for statement in tree.body if "__name__" not in ast.unparse(statement).splitlines()[0]]
    exits = any(_calls(node, "sys.exit") for statement in body for node in ast.walk(statement))
    assert not exits or path.name == "program.py", "sys.exit: raise a LabError instead"


def our_modules() -> list[str]:
    files = (path.relative_to(PROJECT).with_suffix("") for path in (PROJECT / "rackbox").rglob("*.py"))
    return [".".join(path.parts).removesuffix(".__init__") for path in files]


def _calls(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == name
