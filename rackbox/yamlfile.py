"""Reads one YAML file strictly and remembers on which line everything stands.

``load_yaml`` is the entry point. It never constructs anything but mappings, lists and scalars, and takes a
mapping's keys as the text that was written (so a network may be called ``no`` or ``on``). It refuses what people
write by accident and YAML would let pass (duplicate keys) and what a config has no need of (tags, aliases).
It knows nothing of what the keys mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rackbox.errors import ConfigError, Problem

KeyPath = tuple[str | int, ...]

# A config of 1,000 machines written out by hand is some 100 kB; a file of many MB is a mistake (a box, a log).
MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32
# libyaml parses 10 times as fast as PyYAML's own parser; both give the same nodes.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_PLAIN = {_TAG + name for name in ("null", "bool", "int", "float", "str", "timestamp", "merge", "value")}


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A file's content and the 1-based line of each key path. ``name`` is the file as the user named it."""

    name: str
    data: Mapping[str, Any]
    lines: Mapping[KeyPath, int]

    def line(self, path: KeyPath) -> int:
        """The line of ``path``, or of the nearest thing around it that is written in the file; 0 if nothing is."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return 0

    def problem(self, path: KeyPath, text: str) -> Problem:
        return Problem(self.name, self.line(path), dotted(path), text)


def dotted(path: KeyPath) -> str:
    """``nodes.master.count``, ``load_balancer.services[0].port``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def load_yaml(path: Path) -> YamlFile:
    """The mapping that ``path`` holds, or ``ConfigError`` with everything that is wrong with its YAML."""
    text = _read(path)
    name = str(path)
    try:
        root = _compose(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else 0
        raise ConfigError([Problem(name, line, "", "must be text; got a control character")]) from error
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_syntax_problem(name, text, error)]) from error
    except RecursionError as error:
        raise ConfigError([Problem(name, 0, "", f"must be nested at most {MAX_DEPTH} deep")]) from error
    if root is None or (isinstance(root, yaml.ScalarNode) and root.tag == _TAG + "null"):
        raise ConfigError([Problem(name, 0, "", "must describe a lab; got an empty file")], _HINT)
    if not isinstance(root, yaml.MappingNode):
        line = root.start_mark.line + 1
        raise ConfigError([Problem(name, line, "", f"must be a mapping (key: value); got {_kind(root)}")], _HINT)
    walk = _Walk(name)
    data = walk.value(root, ())
    if walk.problems:
        raise ConfigError(walk.problems)
    return YamlFile(name, data, walk.lines)


_HINT = "config/small.yaml is a short lab to begin from"


def _read(path: Path) -> str:
    """The file's text. Anything that is in the way becomes a Problem."""

    def refuse(text: str, line: int = 0) -> ConfigError:
        return ConfigError([Problem(str(path), line, "", text)])

    try:
        if path.is_dir():
            raise refuse("must be a file; got a directory")
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(
            [Problem(str(path), 0, "", "no such file")], "choose a lab with --lab FILE; config/ has two"
        ) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise refuse(f"cannot be read: {reason}") from error
    if len(raw) > MAX_BYTES:
        raise refuse(f"must be at most {MAX_BYTES // 1024 // 1024} MiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refuse(
            f"must be UTF-8; got byte 0x{raw[error.start]:02x}", raw.count(b"\n", 0, error.start) + 1
        ) from error


def _compose(text: str) -> yaml.Node | None:
    loader = _LOADER(text)
    try:
        node: yaml.Node | None = loader.get_single_node()
        return node
    finally:
        loader.dispose()


def _syntax_problem(name: str, text: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 0
    lines = text.splitlines()
    what = error.problem or error.context or "cannot be parsed"
    # libyaml reports a tab where it gave up, often the line after the one that holds it.
    for number in (line, line - 1):
        if 0 < number <= len(lines) and re.match(r"[ ]*\t", lines[number - 1]):
            return Problem(name, number, "", "must be indented with spaces; got a tab")
    if "single document" in str(error.context):
        return Problem(name, line, "", "must be one YAML document; got a second one (---)")
    if isinstance(error, yaml.composer.ComposerError) and "alias" in what:
        return Problem(name, line, "", f"must not use aliases (*name); {what}")
    context = f" ({error.context})" if error.context and error.problem else ""
    return Problem(name, line, "", f"must be valid YAML; {what}{context}")


def _kind(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else "a plain value"


@dataclass(slots=True)
class _Walk:
    """Turns nodes into plain data, notes lines, collects problems."""

    name: str
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in self.seen:
            # An alias shares its anchor's node. Expanding them is how a few lines of YAML become gigabytes.
            return self._refuse(node, path, "must be written out; aliases (*name) are not supported")
        self.seen.add(id(node))
        if len(path) > MAX_DEPTH:
            return self._refuse(node, path[:3], f"must be nested at most {MAX_DEPTH} deep")
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return {key: self.value(child, (*path, key)) for key, child in self._pairs(node, path)}
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(child, (*path, index)) for index, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _PLAIN:
            return _scalar(node)
        return self._refuse(node, path, f"must be a plain value; tags ({node.tag}) are not supported")

    def _pairs(self, node: yaml.MappingNode, path: KeyPath) -> Iterator[tuple[str, yaml.Node]]:
        first: dict[str, int] = {}
        for key_node, child in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(
                    Problem(self.name, line, dotted(path), "must have plain keys; got a list or mapping")
                )
                continue
            key = key_node.value
            if key in first:
                text = f"must be given once; also on line {first[key]}"
                self.problems.append(Problem(self.name, line, dotted((*path, key)), text))
                continue
            first[key] = line
            self.lines[(*path, key)] = line
            yield key, child

    def _refuse(self, node: yaml.Node, path: KeyPath, text: str) -> None:
        line = self.lines.get(path, node.start_mark.line + 1)
        self.problems.append(Problem(self.name, line, dotted(path), text))


def _scalar(node: yaml.ScalarNode) -> bool | int | float | str | None:
    """The value of a scalar. What YAML 1.1 alone would read as a number or date (``22:30``, ``0o17``, ``012``,
    ``1_000``, ``2024-01-01``) stays the text that it looks like."""
    text: str = node.value
    match node.tag.removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            return text.lower() in ("yes", "true", "on")
        case "int" if re.fullmatch(r"[-+]?(0|[1-9][0-9]{0,17})", text):
            return int(text)
        case "float" if re.fullmatch(r"[-+]?[0-9]+\.[0-9]*", text):
            return float(text)
    return text
