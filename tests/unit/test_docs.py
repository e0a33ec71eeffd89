"""The documentation says what the code does: commands parse, examples load, links resolve, tables are complete.

``python -m tests.unit.test_docs`` writes the table of config keys in ``docs/reference.md`` anew.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from invoke.parser import Parser
from pydantic import BaseModel

import tasks
from rackbox.config import Config, json_schema
from rackbox.config_errors import _find_model
from rackbox.durations import DURATION_PATTERN, SIZE_PATTERN
from rackbox.health import health_json, judge_lab
from rackbox.history import JsonValue
from rackbox.load import load_lab, load_topology
from rackbox.outage import Outage, Window
from rackbox.paths import PROJECT
from rackbox.plan import plan_json
from rackbox.probes import PROBES
from rackbox.program import RackboxProgram
from rackbox.readback import WriteAudit
from rackbox.report import FailoverReport, report_json, run_json
from rackbox.scenarios import SCENARIOS
from rackbox.task import before_double_dash
from rackbox.verdict import ProbeMeasure, RunVerdict, judge_all

PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md"), *PROJECT.glob("p*/**/README.md")])
REFERENCE = PROJECT / "docs" / "reference.md"
ARCHITECTURE = PROJECT / "docs" / "architecture.md"
GUIDE = PROJECT / "docs" / "guide.md"
KEYS = ("<!-- keys: made by python -m tests.unit.test_docs -->", "<!-- end of keys -->")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; ``line`` is where its text begins."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\S*)([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 2
            found.append(Block(page.relative_to(PROJECT).as_posix(), line, f"{match[1]}{match[2]}", match[3]))
    return found


def commands() -> list[tuple[str, str]]:
    """Every ``./lab …`` and ``invoke …`` of a block or of inline code, with where it stands."""
    found = []
    for block in blocks():
        for number, line in enumerate(block.text.splitlines(), block.line):
            if match := re.match(r"(?:[#$] )?((?:\./lab|invoke)(?: .*)?)$", line):
                found.append((f"{block.page}:{number}", match[1]))
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        name = page.relative_to(PROJECT).as_posix()
        found += [(name, code) for code in re.findall(r"`((?:\./lab|invoke) [a-z][^`]*)`", text)]
    return found


def plain(command: str) -> list[str]:
    """The words after ``./lab`` and before ``--``, with what a table marks as optional in brackets laid open."""
    opened = re.sub(r"\[(?!\w+\])|\](?= |\]|$)", " ", command.split("  #", maxsplit=1)[0]).replace("…", "")
    return before_double_dash(shlex.split(opened, posix=True))[1:]


def parser() -> Parser:
    program = RackboxProgram(tasks.namespace)
    program.create_config()
    program.parse_core(["lab"])
    program.parse_collection()
    return Parser(initial=program.initial_context, contexts=program.collection.to_contexts(), ignore_unknown=False)


@pytest.mark.parametrize(("where", "command"), commands(), ids=lambda value: str(value)[:60])
def test_commands_parse(where: str, command: str) -> None:
    words = plain(command)
    values = {"N": "1", "MINUTES": "1"}
    words = [values.get(word, word) for word in words]
    if words == [] or words == ["TASK"]:
        return
    try:
        parser().parse_argv(words)
    except Exception as error:  # noqa: BLE001 - whatever the parser says is what a reader would meet
        pytest.fail(f"{where}: {command}: {error}")


@pytest.mark.parametrize("block", [b for b in blocks() if b.language.startswith("yaml")], ids=str)
def test_yaml_examples_load(block: Block, tmp_path: Path) -> None:
    """A part of a file is marked ```yaml fragment: it is completed and must load as well."""
    text = block.text
    if block.language == "yaml fragment":
        text = completed(text)
    file = tmp_path / "lab.yaml"
    file.write_text(text, encoding="utf-8")
    _, topology = load_lab(file)
    assert topology.nodes


def completed(fragment: str) -> str:
    """``fragment`` with what every lab must have, where it does not say so itself."""
    missing = "" if re.search(r"^name:", fragment, re.MULTILINE) else "name: example\n"
    if not re.search(r"^nodes:", fragment, re.MULTILINE):
        missing += "nodes: {gateway: , lb: , master: , gluster: , worker: }\n"
    return missing + fragment


def links(page: Path) -> Iterator[tuple[str, str]]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield path, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_relative_links_resolve(page: Path) -> None:
    for path, anchor in links(page):
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {path}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {path}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Headings as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- tables that must be complete


def test_every_module_is_on_the_architecture_page() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    root = PROJECT / "rackbox"
    modules = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.py"))]
    names = [name.removesuffix("__init__.py") for name in modules if name != "__init__.py"]
    # One file each, and each a row of the reference's table of scenarios.
    names = [name for name in names if not name.startswith("scenarios/") or name in ("scenarios/", "scenarios/base.py")]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_modules_and_functions_on_the_architecture_page_are_there() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    names = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", text)) - {"tasks.py"}
    assert [n for n in names if not (PROJECT / "rackbox" / n).exists() and not (PROJECT / n).exists()] == []
    for row in re.findall(r"^\| \d+ \|(.*)\|.*\|$", text, re.MULTILINE):
        source = "".join(
            (ARCHITECTURE.parent / path).read_text(encoding="utf-8") for path in re.findall(r"\((\.\./[^)]*)\)", row)
        )
        for name in re.findall(r"`([A-Za-z_.]+)`", row):
            assert name.split(".")[-1] in source, f"{name}: not where the page says"


def test_the_table_of_config_keys_is_complete() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    written = text.split(KEYS[0])[1].split(KEYS[1])[0].strip()
    assert written == keys_table(), "run: python -m tests.unit.test_docs, and look at the difference"
    for name in all_keys(Config):
        assert f".{name}`" in written or f"`{name}`" in written, name


def all_keys(model: type[BaseModel], seen: frozenset[str] = frozenset()) -> set[str]:
    found = set(model.model_fields)
    for field in model.model_fields.values():
        inner = _find_model(field.annotation)
        if inner is not None and inner.__name__ not in seen:
            found |= all_keys(inner, seen | {model.__name__, inner.__name__})
    return found


def test_every_option_is_in_the_reference() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    section = text.split("## Command line")[1].split("\n## ")[0]
    rows = {row.split("`")[1].split()[1]: row for row in section.splitlines() if row.startswith("| `./lab ")}
    contexts = {next(iter(context.aliases), context.name): context for context in tasks.namespace.to_contexts()}
    assert rows.keys() == contexts.keys()
    for name, row in rows.items():
        positional = {f"--{argument.name}" for argument in contexts[name].positional_args}
        assert [flag for flag in contexts[name].flags.keys() - positional if f"`{flag}`" not in row] == [], name


def test_every_history_record_is_in_the_reference() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (PROJECT / "rackbox").rglob("*.py"))
    events = set(re.findall(r"(?:\.write|_try_note)\(\s*\"([a-z][a-z-]+)\"", sources)) | {"attempt"}
    text = REFERENCE.read_text(encoding="utf-8").split("## History")[1].split("\n## ")[0]
    assert {"header", "run-end", "probe-start"} <= events
    assert sorted(event for event in events if f"`{event}`" not in text) == []


def test_every_json_field_is_in_the_reference() -> None:
    text = REFERENCE.read_text(encoding="utf-8").split("## JSON")[1].split("\n## ")[0]
    topology = load_topology(PROJECT / "config" / "default.yaml")
    outage = Outage((Window(1.0, 2.0, 1.9, 3, 0.1),), 9, 3, 0, 1.0, 0.1)
    writes = WriteAudit(9)
    run = RunVerdict("r", "s", "held", (), measures=(ProbeMeasure("etcd-read", 0.02, outage),), writes=writes)
    documents: list[Any] = [
        plan_json(topology, [("a", True, "b")]),
        health_json(topology, judge_lab(topology, {})),
        report_json(FailoverReport("l", "p", "g", "r", (judge_all("s", [run]),))),
        run_json(run),
    ]
    fields = {name for document in documents for name in keys_of(document)} - {*SCENARIOS, *PROBES}
    assert sorted(name for name in fields if f"`{name}`" not in text) == []


def keys_of(document: JsonValue) -> Iterator[str]:
    if isinstance(document, dict):
        for name, value in document.items():
            yield name
            yield from keys_of(value)
    elif isinstance(document, (list, tuple)):
        for value in document:
            yield from keys_of(value)


def test_messages_in_the_guide_are_the_codes_own() -> None:
    """What stands between the ``…`` of a message is found in the source, letter by letter."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (PROJECT / "rackbox").rglob("*.py"))
    sources += (PROJECT / "lab").read_text(encoding="utf-8") + (PROJECT / "provision/lib/lib.sh").read_text(
        encoding="utf-8"
    )
    driver = (PROJECT / "packaging/bundle/modules/gluster-csi/driver").glob("*.go")
    sources += "".join(path.read_text(encoding="utf-8").replace("%d", "").replace("%s", "") for path in driver)
    table = GUIDE.read_text(encoding="utf-8").split("## Troubleshooting")[1]
    messages = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(messages) >= 12
    for message in messages:
        for part in re.split(r"…", message):
            assert part.strip(" :") in sources, f"{message}: {part!r} is nowhere"


def test_scenarios_and_their_budgets_are_in_the_reference() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    assert [name for name in SCENARIOS if f"`{name}`" not in text] == []


# --- the table of config keys, from the schema


def keys_table() -> str:
    schema = json_schema()
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    rows += [f"| `{path}` | {kind} | {default} | {text} |" for path, kind, default, text in keys(schema, schema, "")]
    return "\n".join(rows)


Row = tuple[str, str, str, str]


def keys(schema: dict[str, Any], node: dict[str, Any], prefix: str) -> Iterator[Row]:
    for name, value in node["properties"].items():
        path = f"{prefix}{name}"
        inner, where = inner_of(schema, value)
        given = value.get("default")
        default = "" if given in (None, {}, []) or inner else f"`{show(given)}`"
        if name in node.get("required", ()):
            default = "**must be given**"
        yield path, kind_of(value, inner), default, text_of(value)
        if inner is None:
            continue
        if inner.get("title") == "RoleNodes":  # the same for each role: told once, after the last
            if name != list(node["properties"])[-1]:
                continue
            path = f"{prefix}<role>"
        yield from keys(schema, inner, f"{path}{where}.")


def inner_of(schema: dict[str, Any], value: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The mapping that a key holds, and how its path goes on."""
    for option in (value, *value.get("anyOf", ()), *value.get("allOf", ())):
        if "$ref" in option:
            return schema["$defs"][option["$ref"].rsplit("/", 1)[1]], ""
        items = option.get("items")
        if isinstance(items, dict) and "$ref" in items:
            return schema["$defs"][items["$ref"].rsplit("/", 1)[1]], "[]"
        for pattern in (*option.get("patternProperties", {}).values(), option.get("additionalProperties")):
            for kind in (pattern, *pattern.get("anyOf", ())) if isinstance(pattern, dict) else ():
                if "$ref" in kind:
                    return schema["$defs"][kind["$ref"].rsplit("/", 1)[1]], ".<name>"
    return None, ""


def kind_of(value: dict[str, Any], inner: dict[str, Any] | None) -> str:
    options = [option for option in value.get("anyOf", [value]) if option.get("type") != "null"]
    first = options[0]
    if first.get("type") == "array":
        items = first.get("items", {})
        return "list" if inner else f"list of {plural(kind_of(items, None))}"
    if inner or first.get("type") == "object":
        return "mapping" if first.get("type") != "object" or inner else f"name: {_value_kind(first)}"
    if "enum" in first:
        return " or ".join(f"`{option}`" for option in first["enum"])
    if first.get("type") == "boolean":
        return "`true` or `false`"
    if first.get("type") == "integer":
        return f"{first['minimum']}–{first['maximum']}"
    kinds = {DURATION_PATTERN: "duration", SIZE_PATTERN: "size", "^/": "path", "^/.": "path"}
    if first.get("pattern") in kinds:
        return kinds[first["pattern"]]
    if first.get("format") == "ipv4":
        return "address"
    if first.get("format") == "hostname":
        return "domain"
    if str(first.get("pattern", "")).endswith("/[0-9]+$"):
        return "network"
    if any(option.get("type") == "array" for option in options):
        return "range, address, or list"
    return "name"


def plural(kind: str) -> str:
    return {"address": "addresses"}.get(kind, f"{kind}s")


def _value_kind(first: dict[str, Any]) -> str:
    values = [*first.get("patternProperties", {}).values(), first.get("additionalProperties")]
    return kind_of(next(value for value in values if isinstance(value, dict)), None)


def show(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def text_of(value: dict[str, Any]) -> str:
    return str(value.get("description", "")).replace("|", "\\|").replace("<", "\\<")


def write_keys() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    head, rest = text.split(KEYS[0])
    tail = rest.split(KEYS[1])[1]
    REFERENCE.write_text(f"{head}{KEYS[0]}\n{keys_table()}\n{KEYS[1]}{tail}", encoding="utf-8")


if __name__ == "__main__":
    write_keys()
