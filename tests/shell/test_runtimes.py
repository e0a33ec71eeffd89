"""What asks a machine for its images, run by a real bash against fake runtimes; and that all speak of the same ones."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rackbox import bundle, config_kubernetes
from rackbox.paths import PROJECT
from rackbox.runtimes import RUNTIMES
from tests.shell.guest import FakeGuest

FAKES = {
    "ctr": "printf 'REF TYPE DIGEST SIZE\\na/b:1 t sha256:ab 1\\nc/d:2 t sha256:cd 1\\n'",
    "docker": '[[ ${!#} == a/b:1 ]] && echo sha256:ab || { echo "no such image" >&2; exit 1; }',
}


@pytest.mark.parametrize("name", RUNTIMES)
def test_an_image_that_is_there_is_told_with_its_identity(name: str, tmp_path: Path) -> None:
    guest = FakeGuest(tmp_path, "worker1")
    for program, body in FAKES.items():
        guest.fake(program, body)
    script = f"set -euo pipefail\n{RUNTIMES[name].list_images(['a/b:1', 'x y/$(touch /tmp/no):3'])}"
    done = subprocess.run(
        ["bash", "-c", script], env=guest.environment, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert "a/b:1 sha256:ab" in told
    assert not [line for line in told if line.startswith("x")]


def test_each_runtime_is_known_everywhere() -> None:
    names = set(config_kubernetes.RUNTIMES)
    assert names == set(RUNTIMES) == set(bundle.RUNTIMES)
    for name in names:
        assert (PROJECT / "provision/kubernetes" / name / "12-load-images.sh").is_file()
