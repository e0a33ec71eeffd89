"""The linters are tests: a tree that they complain about is not done.

Each is asked for the whole project in one call. A linter of the Python environment must be there; one of the system
(shellcheck, shfmt, packer) must be there wherever ``./lab test`` has set things up, and its test says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from rackbox.build import list_releases, var_file
from rackbox.paths import PROJECT

pytestmark = pytest.mark.linter


def tracked(*patterns: str) -> list[str]:
    """Files of the project that git knows or would take, by pattern."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *patterns],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(name for name in listing.stdout.split("\0") if name and (PROJECT / name).is_file())


def shell_scripts() -> list[str]:
    """All that bash or sh will read: by name, or by the first line. Templates of scripts are checked once rendered."""
    return [name for name in tracked() if name.endswith((".sh", ".bash")) or _shebang(PROJECT / name)]


def _shebang(path: Path) -> bool:
    if path.suffix:
        return False
    with path.open("rb") as stream:
        first = stream.readline(80)
    return first.startswith(b"#!") and first.split()[-1].rsplit(b"/", 1)[-1] in (b"bash", b"sh")


def lint(argv: Sequence[str], timeout: float = 55) -> None:
    env = {**os.environ, "CHECKPOINT_DISABLE": "1"}  # or packer asks over the network whether it is up to date
    done = subprocess.run(argv, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{' '.join(argv[:4])}:\n{done.stdout}{done.stderr}"


def system_tool(name: str) -> str:
    """A linter that a distribution brings. `./lab test` installs it; without it a pass would prove nothing."""
    found = shutil.which(name)
    assert found, f"{name} is not installed: run `./lab test`, or see packaging/apt/test.txt"
    return found


def test_ruff_check() -> None:
    lint([sys.executable, "-m", "ruff", "check", "."])


def test_ruff_format() -> None:
    lint([sys.executable, "-m", "ruff", "format", "--check", "."])


@pytest.mark.timeout(240)
def test_mypy_strict() -> None:
    lint([sys.executable, "-m", "mypy"], timeout=230)


def test_yamllint() -> None:
    lint([sys.executable, "-m", "yamllint", "--strict", *tracked("*.yaml", "*.yml", ".yamllint")])


def test_shellcheck() -> None:
    lint([system_tool("shellcheck"), "--external-sources", *shell_scripts()])


def test_shfmt() -> None:
    lint([system_tool("shfmt"), "-d", *shell_scripts()])


def test_the_shell_scripts_were_found() -> None:
    assert {"lab"} <= set(shell_scripts())


@pytest.mark.consumer
@pytest.mark.parametrize("directory", sorted({Path(name).parent.as_posix() for name in tracked("packer/**/*.pkr.hcl")}))
def test_packer_fmt(directory: str) -> None:
    lint([system_tool("packer"), "fmt", "-check", "-diff", directory])


@pytest.mark.consumer
@pytest.mark.parametrize("release", list_releases())
def test_packer_validate(release: str, tmp_path: Path) -> None:
    lint(
        [
            system_tool("packer"),
            "validate",
            f"-var-file={var_file(release)}",
            "-var=source_date_epoch=0",
            f"-var=output={tmp_path}",
            "packer/rootfs",
        ]
    )


@pytest.mark.consumer
def test_packer_validate_disk(tmp_path: Path) -> None:
    values = {"rootfs": tmp_path, "rendered": tmp_path, "output": tmp_path, "source_date_epoch": 0}
    options = [f"-var={name}={value}" for name, value in values.items()]
    lint([system_tool("packer"), "validate", *options, "packer/disk"])
