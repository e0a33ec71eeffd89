"""YAML: values as they look, lines where they stand. What is refused is in ``bad_configs``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rackbox import yamlfile
from rackbox.errors import ConfigError, Problem
from rackbox.yamlfile import dotted, load_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1", -1),
        ("0", 0),
        ("1.5", 1.5),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("Off", "Off"),
        ("~", None),
        ("", None),
        ('"1"', "1"),
        ("none", "none"),
        # YAML 1.1 would make a number or a date of these; nobody who writes them means one.
        ("22:30", "22:30"),
        ("0x10", "0x10"),
        ("010", "010"),
        ("1_000", "1_000"),
        ("1e3", "1e3"),
        (".inf", ".inf"),
        ("2024-01-01", "2024-01-01"),
        ("192.168.4.20", "192.168.4.20"),
    ],
)
def test_scalars(text: str, value: Any, tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(f"key: {text}\n")
    found = load_yaml(file).data["key"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_the_text_that_was_written(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text("no: 1\n7: 2\n2024-01-01: 3\n~: 4\n")
    assert load_yaml(file).data == {"no": 1, "7": 2, "2024-01-01": 3, "~": 4}


def test_lines(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text("# comment\na:\n  b:\n    - c: 1\n      d: 2\n    - 3\n\ne: {f: 1,\n  g: 2}\n")
    found = load_yaml(file)
    expected: dict[tuple[str | int, ...], int] = {
        ("a",): 2,
        ("a", "b"): 3,
        ("a", "b", 0): 4,
        ("a", "b", 0, "d"): 5,
        ("a", "b", 1): 6,
        ("e", "f"): 8,
        ("e", "g"): 9,
        ("a", "x", "y"): 2,
        ("x",): 2,
    }
    assert {path: found.line(path) for path in expected} == expected
    assert dotted(("a", "b", 0, "d")) == "a.b[0].d"


def test_windows_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_bytes(b"\xef\xbb\xbfname: lab\r\nnodes:\r\n  gateway:\r\n")
    found = load_yaml(file)
    assert found.data == {"name": "lab", "nodes": {"gateway": None}}
    assert found.line(("nodes", "gateway")) == 3


def test_an_unused_anchor_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text("name: &n lab\n")
    assert load_yaml(file).data == {"name": "lab"}


def test_without_the_c_parser_all_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text("a:\n  b: [1, {c: x}]\n")
    fast = load_yaml(file)
    monkeypatch.setattr(yamlfile, "_LOADER", yaml.SafeLoader)
    assert load_yaml(file) == fast


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text("ab:-[]{}&*!|>'\"#%@`?, \n\t~0", max_size=60).map(str.encode)))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(raw)
    problems: tuple[Problem, ...] = ()
    try:
        load_yaml(file)
    except ConfigError as error:
        problems = error.problems
    assert all(problem.line <= len(raw) + 1 for problem in problems)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused(opening: str, tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text("a:\n " + opening * 100_000)
    with pytest.raises(ConfigError):
        load_yaml(file)
