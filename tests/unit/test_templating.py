"""Quoting: what a template prints is read back by its language as the same value."""

from __future__ import annotations

import shlex
import subprocess

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from rackbox.templating import (
    GuestFile,
    RenderedFile,
    Templates,
    format_write_files,
    quote_ruby,
    quote_sh,
    quote_yaml,
)

TEXT = st.text(st.characters(codec="utf-8"))


def test_an_undefined_name_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="nothing"):
        Templates({"t": "{{ nothing }}"}).render("t", {})


@given(TEXT)
def test_yaml_reads_back_what_was_quoted(text: str) -> None:
    assert yaml.safe_load(f"key: {quote_yaml(text)}") == {"key": text}


@pytest.mark.parametrize("value", [True, False, None, 5, ["a", 1], {"a": "b"}])
def test_yaml_keeps_plain_values(value: object) -> None:
    assert yaml.safe_load(quote_yaml(value)) == value


@given(TEXT.filter(lambda text: "\0" not in text))
def test_sh_reads_back_what_was_quoted(text: str) -> None:
    assert shlex.split(quote_sh(text)) == [text]


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ("plain", '"plain"'),
        ('with "quotes"', '"with \\"quotes\\""'),
        ("#{code}", '"\\#{code}"'),
        ("back\\slash\n", '"back\\\\slash\\n"'),
        (True, "true"),
        (False, "false"),
        (512, "512"),
    ],
)
def test_ruby_literals(value: str | int | bool, printed: str) -> None:
    assert quote_ruby(value) == printed


@pytest.mark.subprocess
def test_ruby_reads_back_what_was_quoted() -> None:
    words = ["#{1 + 1}", "#$0 #@x", 'a"b\\c', "tab\tnew\nline", "żółw", "\x01"]
    script = "print [" + ",".join(quote_ruby(word) for word in words) + "].join('|')"
    done = subprocess.run(["ruby", "-e", script], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout == "|".join(words)


@given(st.one_of(TEXT, st.binary()))
def test_write_files_hold_any_content(content: str | bytes) -> None:
    file = GuestFile("/etc/x", content, 0o600, "etcd:etcd")
    entry = yaml.safe_load("write_files:\n" + format_write_files((file,)))["write_files"][0]
    assert entry["path"] == "/etc/x"
    assert entry["permissions"] == "0600"
    assert entry["owner"] == "etcd:etcd"
    if isinstance(content, str):
        assert entry["content"] == content
    else:
        assert entry["encoding"] == "b64"


def test_readable_text_stays_readable() -> None:
    assert "      line two\n" in format_write_files((GuestFile("/x", "line one\nline two\n"),))


def test_contents_have_no_repr() -> None:
    assert "hush" not in repr(GuestFile("/x", "hush")) + repr(RenderedFile("hush"))
