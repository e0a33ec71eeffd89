"""A throw-away copy of the box's tree in which the programs of the machines read what was rendered for them.

Needs root: a private mount, network and process namespace, an overlay on the tree, and chroot. Nothing of it stays.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Protocol

import pytest

from rackbox.credentials import ensure_credentials
from rackbox.hooks import load_sources
from rackbox.paths import find_home
from rackbox.render import VagrantTarget, render_lab, write_rendered
from tests.consumer.programs import pause, pause_image, tools  # noqa: F401 - fixtures
from tests.consumer.virtualbox_root import vbox_root  # noqa: F401 - a fixture
from tests.rendering import RELEASE, settings_of, shipped

Done = subprocess.CompletedProcess[str]


class Inside(Protocol):
    """``inside(machine, script)``; ``bring`` is a directory of this computer's that the script finds at /bring."""

    def __call__(self, machine: str, script: str, *, bring: Path | None = None, timeout: float = 50) -> Done: ...


def check(done: Done) -> str:
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


RENDERED = (
    "small",
    "default",
    "kubernetes",
    "keepalived",
    "reference-keepalived",
    "reference-pacemaker",
    "traps/weight-below-gap",
)

# $1 the tree, $2 the machine's rendered directory, $3 what to run inside, $4 what it brings along, if anything.
# cloud-init's own schema check has seen the user-data by then, so that applying its write_files is all that is left.
SCRIPT = r"""
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
cd /mnt/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
ip link set lo up
mkdir seed
cp "$2/user-data" "$2/meta-data" "$2/network-config" seed/
cat >seed/apply.py <<'PYTHON'
import base64, os, shutil, yaml
for file in yaml.safe_load(open("/seed/user-data"))["write_files"]:
    path, content = file["path"], file["content"]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    data = base64.b64decode(content) if file.get("encoding") == "b64" else content.encode()
    with open(path, "wb") as stream:
        stream.write(data)
    os.chmod(path, int(file["permissions"], 8))
    if "owner" in file:
        shutil.chown(path, *file["owner"].split(":"))
PYTHON
chroot . python3 /seed/apply.py
if [[ -n $4 ]]; then mkdir bring; mount --bind "$4" bring; fi
exec chroot . bash -euo pipefail -c "$3"
"""


@pytest.fixture(scope="session")
def box_tree() -> Path:
    """The tree LXC machines are clones of: ``$RACKBOX_TEST_TREE``, or that of the newest box Vagrant has unpacked."""
    named = os.environ.get("RACKBOX_TEST_TREE")
    if named:
        return Path(named)
    home = find_home(os.environ, Path.home(), os.getuid())
    trees = sorted(home.vagrant.glob("boxes/*/*/lxc/tree"), key=lambda path: path.parent.parent.name)  # the version
    if not trees:
        pytest.fail("no box to try the files in: run `./lab up` once, or set RACKBOX_TEST_TREE to an unpacked tree")
    return trees[-1]


@pytest.fixture(scope="session")
def rendered_labs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shipped labs with real credentials, below ``<lab>/rendered``."""
    top = tmp_path_factory.mktemp("labs")
    for lab in RENDERED:
        topology = shipped(lab)
        credentials = ensure_credentials(topology, top / lab / "secrets")
        lines = {node.name: settings_of(node) for node in topology.nodes}
        target = VagrantTarget("lxc", "rackbox/debian-13", directory=top / lab / "rendered")
        release = RELEASE if topology.kubernetes else None
        files = render_lab(topology, credentials, lines, load_sources(), target, release)
        write_rendered(files, top / lab / "rendered")
    return top


@pytest.fixture
def inside(box_tree: Path, rendered_labs: Path) -> Inside:
    """Run a bash script inside the box with all files of a machine (``lab/machine``) in place."""

    def run_inside(machine: str, script: str, *, bring: Path | None = None, timeout: float = 50) -> Done:
        lab, node = machine.rsplit("/", 1)
        directory = rendered_labs / lab / "rendered" / "nodes" / node
        argv = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "bash", "-euo", "pipefail", "-c"]
        return subprocess.run(
            [*argv, SCRIPT, "_", str(box_tree), str(directory), script, str(bring or "")],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run_inside
