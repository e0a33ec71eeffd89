"""The command line's contract in a real process, with its signals and pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rackbox.paths import PROJECT


@pytest.mark.subprocess
class TestForReal:
    """The real process, with its signals and pipes."""

    def start(self, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "rackbox.program", *argv],
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
            **options,
        )

    def test_a_usage_error(self, tmp_path: Path) -> None:
        done = self.start("nonsense", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (3, "")

    def test_plain_invoke_refuses_another_lab(self, tmp_path: Path) -> None:
        config = tmp_path / "x.yaml"
        config.write_text("lab: other\n")
        done = subprocess.run(
            [sys.executable, "-m", "invoke", "--config", str(config), "down"],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.returncode == 3
        assert "--lab FILE" in done.stderr

    def test_a_reader_that_leaves_is_no_error(self) -> None:
        done = subprocess.run(
            [
                "bash",
                "-c",
                '{ "$1" -P -m rackbox.program doctor --json; echo "code $?" >&2; } | true',
                "-",
                sys.executable,
            ],
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_an_interrupt_heals_and_says_so(self, tmp_path: Path, number: int, code: int) -> None:
        script = tmp_path / "interrupted.py"
        script.write_text(
            "import time\n"
            "from rackbox.task import run_command\n"
            "def task():\n"
            "    try:\n"
            "        print('waiting', flush=True)\n"
            "        time.sleep(30)\n"
            "    finally:\n"
            "        print('healed', flush=True)\n"
            "raise SystemExit(run_command(task))\n"
        )
        with subprocess.Popen(
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "waiting\n"
            process.send_signal(number)
            out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (code, "healed\n")
        assert "Traceback" not in err
