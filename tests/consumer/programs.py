"""Programs that tests of bundles need, built from their modules once a session: fixtures of the consumer tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rackbox.bundle_pins import DATA
from rackbox.golang import build_programs
from rackbox.oci import Entry, ImageConfig, write_image, write_layer
from tests.consumer.stand_ins import ARCH

TOOLS = Path(__file__).parent / "registry"
PAUSE = "registry.k8s.io/pause:3.10.2"


def run(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return str(done.stdout)


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`registry` and `crane`, of the modules in go.mod beside this file."""
    target = tmp_path_factory.mktemp("tools")
    names = ["github.com/distribution/distribution/v3/cmd/registry", "github.com/google/go-containerregistry/cmd/crane"]
    build_programs(TOOLS, names, target, arch="", stamps={}, tags=(), log=target / "log")
    return target


@pytest.fixture(scope="session")
def pause(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("pause")
    build_programs(DATA / "modules/own", ["./pause"], target, arch="", stamps={}, tags=(), log=target / "log")
    return target / "pause"


@pytest.fixture(scope="session")
def pause_image(pause: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("image")
    layer = write_layer(directory / "layer.tar", [Entry("/pause", pause)], 0)
    write_image(directory / "pause.tar", PAUSE, [layer], ImageConfig(("/pause",), ARCH, 0))
    return directory / "pause.tar"
