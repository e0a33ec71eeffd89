"""What stands before three libraries for cloud-init's services (packer/rootfs/files/usr/lib/rackbox/lean)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rackbox.paths import PROJECT

pytestmark = pytest.mark.shell

FILES = PROJECT / "packer" / "rootfs" / "files"
LEAN = FILES / "usr" / "lib" / "rackbox" / "lean"


def python(script: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(LEAN)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_the_services_are_told_of_it() -> None:
    unit = (FILES / "etc/systemd/system/cloud-.service.d/90-rackbox.conf").read_text()
    assert f"Environment=PYTHONPATH=/{LEAN.relative_to(FILES)}" in unit.splitlines()


def test_requests_is_loaded_when_something_is_asked_of_it() -> None:
    script = """
import sys
import requests
from requests import exceptions
def answer(response: requests.Response): ...
print("urllib3" in sys.modules)
try:
    requests.Session().get("http://127.0.0.1:1/", timeout=1)
except exceptions.ConnectionError as error:
    print(type(error).__module__, requests.codes.ok)
"""
    assert python(script).split() == ["False", "requests.exceptions", "200"]


def test_jinja_and_jsonschema_are_as_if_not_installed() -> None:
    """As cloud-init asks for them (templater.py, config/schema.py)."""
    script = """
from jinja2 import TemplateSyntaxError
words = {"jinja2": "from jinja2 import Template", "jsonschema": "from jsonschema import ValidationError"}
for name in words:
    try:
        exec(words[name])
    except ImportError:
        print(name)
"""
    assert python(script).split() == ["jinja2", "jsonschema"]


def test_who_is_started_by_cloud_init_finds_the_real_ones() -> None:
    script = """
import jinja2, subprocess, sys
print(subprocess.run([sys.executable, "-c", "import jinja2; print(jinja2.Template.__module__)"], check=True,
    capture_output=True, text=True).stdout)
"""
    assert python(script) == "jinja2.environment"
