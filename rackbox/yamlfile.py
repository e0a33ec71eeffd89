"""Reads one YAML file strictly and remembers on which line everything stands.

``load_yaml`` is the entry point. It makes mappings, lists and scalars of the parser's events, and nothing else.
Scalars are those of YAML 1.2's core schema: ``no``, ``22:30`` and ``010`` stay the text that they look like, keys are
always text. It refuses what people write by accident and YAML would let pass (duplicate keys) and what a config has
no need of (tags, aliases). It knows nothing of what the keys mean.
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
# Also what keeps a file of 100,000 brackets from overflowing a stack: PyYAML's own composer, in C, crashes on it.
MAX_DEPTH = 32
# libyaml parses 10 times as fast as PyYAML's own parser; both give the same events.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A file's content and the 1-based line of each key path. ``name`` is the file as the user named it."""

    name: str
    data: Mapping[str, Any]
    lines: Mapping[KeyPath, int]

    def line(self, path: KeyPath) -> int:
        """The line of ``path``, or of the nearest thing around it that is written in the file; 0 if nothing is."""
        return _nearest_line(self.lines, path)

    def has(self, path: KeyPath) -> bool:
        """Whether ``path`` itself is written in the file."""
        return path in self.lines

    def problem(self, path: KeyPath, text: str) -> Problem:
        return Problem(self.name, self.line(path), dotted(path), text)


def _nearest_line(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    return next((lines[path[:length]] for length in range(len(path), -1, -1) if path[:length] in lines), 0)


def dotted(path: KeyPath) -> str:
    """``nodes.master.count``, ``load_balancer.services[0].port``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def load_yaml(path: Path) -> YamlFile:
    """The mapping that ``path`` holds, or ``ConfigError`` with everything that is wrong with its YAML."""
    text = _read(path)
    name = str(path)
    reader = _Reader(name, yaml.parse(text, Loader=_LOADER))
    try:
        data = reader.document()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else 0
        raise ConfigError([Problem(name, line, "", "must be text; got a control character")]) from error
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_syntax_problem(name, text, error)]) from error
    if data is None and not reader.problems:
        raise ConfigError([Problem(name, 0, "", "must describe a lab; got an empty file")], _HINT)
    if not isinstance(data, dict) and not reader.problems:
        kind = "a list" if isinstance(data, list) else "a plain value"
        raise ConfigError([reader.problem((), f"must be a mapping (key: value); got {kind}")], _HINT)
    if reader.problems:
        raise ConfigError(reader.problems)
    return YamlFile(name, data, reader.lines)


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
            [Problem(str(path), 0, "", "no such file")], "choose a lab by --lab FILE or RACKBOX_LAB; config/ has some"
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


def _syntax_problem(name: str, text: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 0
    lines = text.splitlines()
    what = error.problem or error.context or "cannot be parsed"
    # libyaml reports a tab where it gave up, often the line after the one that holds it.
    for number in (line, line - 1):
        if 0 < number <= len(lines) and re.match(r"[ ]*\t", lines[number - 1]):
            return Problem(name, number, "", "must be indented with spaces; got a tab")
    context = f" ({error.context})" if error.context and error.problem else ""
    return Problem(name, line, "", f"must be valid YAML; {what}{context}")


class _TooDeep(Exception):
    """Nobody nests a config so deep; reading on would only help an attacker."""


@dataclass(slots=True)
class _Reader:
    """Turns events into plain data, notes lines, collects problems."""

    name: str
    events: Iterator[Any]
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def document(self) -> Any:
        """The one document's content, None if there is nothing at all."""
        data = None
        documents = 0
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.lines[()] = event.start_mark.line + 1 if event.start_mark else 0
                    self.problems.append(self.problem((), "must be one YAML document; got a second one (---)"))
                    break
                try:
                    data = self.value(next(self.events), ())
                except _TooDeep:
                    break
        return data

    def value(self, event: Any, path: KeyPath) -> Any:
        self.lines.setdefault(path, event.start_mark.line + 1)
        if len(path) > MAX_DEPTH:
            self.problems.append(self.problem(path[:3], f"must be nested at most {MAX_DEPTH} deep"))
            raise _TooDeep
        if isinstance(event, yaml.AliasEvent):
            # Expanding them is how a few lines of YAML become gigabytes.
            self.problems.append(self.problem(path, "must be written out; aliases (*name) are not supported"))
            return None
        if event.tag is not None:
            self.problems.append(self.problem(path, f"must be a plain value; tags ({event.tag}) are not supported"))
        if isinstance(event, yaml.MappingStartEvent):
            return dict(self.pairs(path))
        if isinstance(event, yaml.SequenceStartEvent):
            return list(self.items(path))
        return _scalar(event.value) if event.implicit[0] else event.value

    def items(self, path: KeyPath) -> Iterator[Any]:
        for index, event in enumerate(self.events):
            if isinstance(event, yaml.SequenceEndEvent):
                return
            yield self.value(event, (*path, index))

    def pairs(self, path: KeyPath) -> Iterator[tuple[str, Any]]:
        """The keys that are given for the first time, with their values. All others become problems."""
        first: dict[str, int] = {}
        for event in self.events:
            if isinstance(event, yaml.MappingEndEvent):
                return
            line = event.start_mark.line + 1
            key = event.value if isinstance(event, yaml.ScalarEvent) else None
            if key is not None and key not in first:
                first[key] = self.lines[(*path, key)] = line
                yield key, self.value(next(self.events), (*path, key))
            elif key is not None:
                text = f"must be given once; also on line {first[key]}"
                self.problems.append(Problem(self.name, line, dotted((*path, key)), text))
                self.skip(next(self.events), (*path, key or "?"))
            else:
                self.problems.append(Problem(self.name, line, dotted(path), "must have plain keys"))
                self.skip(event, (*path, "?"))
                self.skip(next(self.events), (*path, key or "?"))

    def skip(self, event: Any, path: KeyPath) -> None:
        """Read over a value whose own lines and problems nobody will ask for."""
        _Reader(self.name, self.events).value(event, path)

    def problem(self, path: KeyPath, text: str) -> Problem:
        return Problem(self.name, self.lines.get(path, 0), dotted(path), text)


def _scalar(text: str) -> bool | int | float | str | None:
    """What an unquoted scalar stands for (YAML 1.2.2 section 10.3, without octal, hexadecimal and exponents)."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if re.fullmatch(r"[-+]?(0|[1-9][0-9]{0,17})", text):
        return int(text)
    if re.fullmatch(r"[-+]?[0-9]{1,17}\.[0-9]{1,17}", text):
        return float(text)
    return text
