"""Templates: one Jinja2 environment for every file rackbox prints, and the types of what comes out.

Entry point: ``Templates``. Templates only print what they are given; an undefined name is an error
(``StrictUndefined``), and every value goes through the quoting filter of the language it lands in (``ruby``,
``yaml``, ``sh``). Pure: the templates' text is passed in, nothing is read or written here.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined, Template


class Symbol(str):
    """A Ruby symbol: ``Symbol("file")`` is printed as ``:file``."""

    __slots__ = ()


VagrantValue = str | int | bool | Mapping[str, Any] | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """A file as it is to be written: text or bytes, and its mode. The content may be secret: it has no repr."""

    content: str | bytes = field(repr=False)
    mode: int = 0o644

    @property
    def data(self) -> bytes:
        return self.content.encode() if isinstance(self.content, str) else self.content


@dataclass(frozen=True, slots=True)
class VagrantSetting:
    """One line of a Vagrantfile: a call, or an assignment where ``method`` ends in ``=``. ``options`` are the call's
    keywords. It stands in the provider's block, or, where ``method`` begins with ``vm.`` or ``ssh.``, in the
    machine's."""

    method: str
    args: tuple[VagrantValue, ...] = ()
    options: Mapping[str, VagrantValue] = field(default_factory=dict)

    @property
    def of_machine(self) -> bool:
        return self.method.startswith(("vm.", "ssh."))

    @property
    def ruby(self) -> str:
        """The line, without whose it is."""
        if self.method.endswith("="):
            return f"{self.method[:-1]} = {quote_ruby(self.args[0])}"
        words = [quote_ruby(arg) for arg in self.args]
        words += [f"{key}: {quote_ruby(value)}" for key, value in self.options.items()]
        return f"{self.method} {', '.join(words)}".rstrip()


@dataclass(frozen=True, slots=True)
class GuestFile:
    """A file inside a guest, dropped there by cloud-init. The content may be secret: it has no repr."""

    path: str
    content: str | bytes = field(repr=False)
    mode: int = 0o644
    owner: str = "root:root"


class Templates:
    """Named templates, each compiled once however many machines are rendered from it."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._environment = Environment(
            loader=DictLoader(dict(sources)),
            undefined=StrictUndefined,
            autoescape=False,  # noqa: S701 - nothing here is HTML; each target language has its own filter
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(ruby=quote_ruby, yaml=quote_yaml, sh=quote_sh)
        self._compiled: dict[str, Template] = {}

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        template = self._compiled.get(name)
        if template is None:
            template = self._compiled[name] = self._environment.get_template(name)
        return template.render(values)


def quote_sh(value: object) -> str:
    """A word that a POSIX shell reads as ``value``, whatever is in it."""
    return shlex.quote(str(value))


def quote_yaml(value: object) -> str:
    """A YAML flow scalar or collection. JSON is YAML, but for surrogate escapes, which this never writes."""
    text = json.dumps(value if isinstance(value, bool | int | float | list | dict) or value is None else str(value),
                      ensure_ascii=False)  # fmt: skip
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff]", lambda match: f"\\u{ord(match.group()):04x}", text)


def quote_ruby(value: VagrantValue) -> str:
    """A Ruby literal. Strings are double-quoted with ``#`` escaped, so nothing is interpolated; a mapping's keys are
    symbols."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Symbol):
        return f":{value}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(quote_ruby, value))}]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key}: {quote_ruby(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("#", "\\#")


def format_write_files(files: tuple[GuestFile, ...]) -> str:
    """``files`` as items of cloud-init's ``write_files``: literal blocks where YAML can hold them, to be readable."""
    lines: list[str] = []
    for file in files:
        lines.append(f"  - path: {quote_yaml(file.path)}\n    permissions: '{file.mode:04o}'\n")
        if file.owner != "root:root":
            lines.append(f"    owner: {quote_yaml(file.owner)}\n")
        lines.append(_format_content(file.content))
    return "".join(lines)


_PLAIN = re.compile(r"[^\s\x00-\x1f][\t\n\x20-\x7e\u00a0-\ud7ff]*[^\s]\n")


def _format_content(content: str | bytes) -> str:
    if isinstance(content, bytes):
        return f"    encoding: b64\n    content: {base64.b64encode(content).decode()}\n"
    if not _PLAIN.fullmatch(content):
        return f"    content: {quote_yaml(content)}\n"
    body = "".join(f"      {line}\n" if line else "\n" for line in content[:-1].split("\n"))
    return f"    content: |\n{body}"
