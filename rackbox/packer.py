"""Runs Packer on one of our recipes, so that all that it starts and mounts ends with it.

Entry point: ``run_packer``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rackbox.errors import CommandFailed, LabError
from rackbox.run import run

ROOM_MIB = 3000
"""Free space that a build needs at its peak: the tree (700 MiB), its archive, the box and the unpacked copy."""


def run_packer(
    recipe: Path,
    only: str,
    variables: Mapping[str, object],
    *,
    work: Path,
    log: Path,
    timeout: float,
    var_file: Path | None = None,
) -> None:
    """``packer build`` of what ``only`` names in ``recipe``; its output is appended to ``log``, temporary files are in
    ``work``."""
    argv = ["packer", "build", "-color=false", f"-only=null.{only}"]
    argv += [f"-var-file={var_file}"] if var_file else []
    argv += [f"-var={name}={value}" for name, value in variables.items()]
    environment = {**os.environ, "TMPDIR": str(work), "CHECKPOINT_DISABLE": "1", "PACKER_CONFIG_DIR": str(work)}
    try:
        run([*apart(), *argv, str(recipe)], timeout=timeout, env=environment, log=log)
    except CommandFailed as error:
        raise _explain(error, work, log) from error


def apart() -> Sequence[str]:
    """What makes a program run where all that it mounts and starts ends with it, and it with us, however that comes.

    mmdebstrap mounts /proc, /sys and /dev in its tree; were they left there, cleaning up would go through them.
    """
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--pdeathsig=KILL", "unshare", "--mount-proc", "--pid", "--fork", "--kill-child=KILL", "--"]


def _explain(error: CommandFailed, work: Path, log: Path) -> LabError:
    """The same failure with what to do about it."""
    text = log.read_text(errors="replace") if log.exists() else ""
    if "No space left on device" in text or shutil.disk_usage(work).free >> 20 < 100:
        hint = f"a build needs {ROOM_MIB} MiB at its peak: make room, or set RACKBOX_HOME to a directory that has it"
        return LabError(f"{work.parent}: the disk is full; the box was not built (log: {log})", hint)
    error.hint = f"the whole output is in {log}"
    return error
