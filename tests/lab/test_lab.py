"""``./lab`` against fake programs on PATH: what it installs, when it does not, what it says, how it ends.

Each test has a project of its own with the real ``lab`` and package lists, and a PATH on which apt-get and the
tools are fakes that log how they were called. No package is ever installed here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rackbox.paths import PROJECT
from rackbox.tools import load_packages

pytestmark = pytest.mark.shell

NEEDED = (
    "bash",
    "env",
    "cat",
    "dirname",
    "readlink",
    "sha256sum",
    "flock",
    "mktemp",
    "rm",
    "tail",
    "sleep",
    "mkdir",
    "cp",
    "grep",
    "sed",
    "sort",
)
TOOLS, LINTERS = (
    tuple(package.probe for package in load_packages(need) if not package.probe.startswith("/"))
    for need in ("lxc", "test")
)

# A python3 whose `-m venv DIR` makes an environment in which python and pip are this same script.
FAKE_PYTHON = """#!/bin/bash
echo "python3 $*" >>"$LOG"
case "$*" in
  *ensurepip*) [[ ! -e $FAKES/no-venv ]] ;;
  "-m venv --clear "*)
    mkdir -p "$4/bin" "$4/site"
    cp "$0" "$4/bin/python"
    cp "$0" "$4/bin/pip"
    ;;
  *"pip install"*) sleep "${PIP_SECONDS:-0}"; [[ ! -e $FAKES/pip-fails ]] ;;
  *purelib*) echo "${0%/bin/python}/site" ;;
  "-P -m rackbox.program"*) printf 'program:'; printf '[%s]' "${@:4}"; echo " in $PWD"; exit "${PROGRAM_CODE:-0}" ;;
  --version) echo "Python 3.11.2" ;;
esac
"""
FAKE_APT = """#!/bin/bash
echo "apt-get $*" >>"$LOG"
case "$*" in
  indextargets*) cat "$FAKES/targets" ;;
  *update*) : >"$FAKES/lists" ;;
  *install*)
    [[ ! -e $FAKES/apt-fails ]] || { echo "E: no space" >&2; exit 100; }
    [[ -e $FAKES/lists ]] || { echo "E: Unable to locate package" >&2; exit 100; }
    for word in "$@"; do
      case $word in
        python3-venv) rm -f "$FAKES/no-venv" ;;
        packer | vagrant) printf '#!/bin/bash\\n' >"$FAKES/bin/$word" && chmod +x "$FAKES/bin/$word" ;;
      esac
    done
    ;;
esac
"""


@dataclass
class Sandbox:
    """A project, a PATH of fakes, and the log of their calls."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def project(self) -> Path:
        return self.root / "a project"

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    def command(self, *argv: str) -> list[str]:
        return [str(self.project / "lab"), *argv]

    def environment(self, **env: str) -> dict[str, str]:
        base = {"PATH": str(self.bin), "LOG": str(self.root / "log"), "FAKES": str(self.root), "TMPDIR": str(self.root)}
        return {**base, "LAB_OS_RELEASE": str(self.root / "os-release"), "LAB_PYTHON": "python3", **self.env, **env}

    def lab(self, *argv: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*argv),
            env=self.environment(**env),
            cwd=cwd or self.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def calls(self, program: str) -> list[str]:
        log = self.root / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if line.startswith(program)]

    def forget(self) -> None:
        (self.root / "log").unlink(missing_ok=True)

    def fake(self, name: str, script: str = "#!/bin/bash\n") -> None:
        path = self.bin / name
        path.write_text(script)
        path.chmod(0o755)

    def release(self, text: str) -> None:
        (self.root / "os-release").write_text(text)


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """A bare Debian 12: no venv module, no tools, no package lists; run as whoever runs the tests."""
    sandbox = Sandbox(tmp_path)
    sandbox.bin.mkdir()
    sandbox.project.mkdir()
    shutil.copy(PROJECT / "lab", sandbox.project)
    (sandbox.project / "packaging" / "apt").mkdir(parents=True)
    for table in (PROJECT / "packaging" / "apt").glob("*.txt"):
        # What a package brings as a file is this computer's, whatever it has: only commands can be faked.
        lines = [line for line in table.read_text().splitlines() if " /" not in line]
        (sandbox.project / "packaging" / "apt" / table.name).write_text("\n".join(lines) + "\n")
    (sandbox.project / "packaging" / "apt" / "python.txt").write_text(f"python3-venv {tmp_path}/never why\n")
    for name in ("requirements.txt", "requirements-dev.txt"):
        (sandbox.project / name).write_text(f"# {name}\n")
    for name in NEEDED:
        (sandbox.bin / name).symlink_to(shutil.which(name) or f"/usr/bin/{name}")
    sandbox.fake("python3", FAKE_PYTHON)
    sandbox.fake("apt-get", FAKE_APT)
    sandbox.release('ID=debian\nVERSION_ID="12"\n')
    (tmp_path / "no-venv").touch()
    return sandbox


@pytest.fixture
def complete(sandbox: Sandbox) -> Sandbox:
    """The same with everything there, and the environment made."""
    (sandbox.root / "no-venv").unlink()
    for name in (*TOOLS, *LINTERS):
        sandbox.fake(name)
    for task in ("plan", "test"):
        assert sandbox.lab(task).returncode == 0
    sandbox.forget()
    return sandbox


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="./lab installs packages as root only")


@needs_root
def test_a_bare_machine_gets_all_that_up_needs_after_saying_so(sandbox: Sandbox) -> None:
    done = sandbox.lab("up", "--lab", "x.yaml")
    assert done.returncode == 0, done.stderr
    installs = [line for line in sandbox.calls("apt-get") if " install " in line]
    words = set(" ".join(installs).split())
    assert {"vagrant", "packer", "mmdebstrap", "lxc", "uidmap", "iproute2", "nftables", "python3-venv"} <= words
    assert {"--no-install-recommends", "-y"} <= words
    assert "shellcheck" not in words
    assert "installing from Debian: vagrant packer" in done.stderr
    assert "installing Python packages of requirements.txt" in done.stderr
    assert done.stdout == f"program:[up][--lab][x.yaml] in {sandbox.root}\n"


@needs_root
def test_lists_are_fetched_only_if_the_first_try_fails(sandbox: Sandbox) -> None:
    (sandbox.root / "lists").touch()
    assert sandbox.lab("image").returncode == 0
    assert [line for line in sandbox.calls("apt-get") if "update" in line] == []


@needs_root
@pytest.mark.parametrize(
    ("argv", "there", "not_there"),
    [
        (["plan"], {"python3-venv"}, {"vagrant", "shellcheck"}),
        (["doctor"], {"python3-venv"}, {"vagrant", "shellcheck"}),
        (["test"], {"python3-venv", "shellcheck", "shfmt"}, {"vagrant"}),
        (["test", "--e2e"], {"shellcheck", "vagrant", "packer"}, set()),
        (["test", "--vm"], {"shellcheck", "vagrant", "xorriso", "qemu-utils"}, {"lxc"}),
        (["image.list"], {"vagrant"}, {"shellcheck"}),
        (["ssh", "lb1", "--", "up"], {"python3-venv"}, {"vagrant"}),
    ],
)
def test_each_task_gets_what_it_needs(sandbox: Sandbox, argv: list[str], there: set[str], not_there: set[str]) -> None:
    done = sandbox.lab(*argv)
    assert done.returncode == 0, done.stderr
    words = set(" ".join(sandbox.calls("apt-get")).split())
    assert there <= words
    assert not not_there & words


TARGETS = """\
bookworm http://third/party/ Other
bookworm http://mirror/debian/ Debian
bookworm-updates http://mirror/debian/ Debian
"""


@needs_root
@pytest.mark.parametrize("option", [["--provider", "libvirt"], ["--provider=virtualbox"]])
@pytest.mark.parametrize("known", [False, True])
def test_a_box_of_virtual_machines_needs_another_suite(sandbox: Sandbox, option: list[str], known: bool) -> None:
    (sandbox.root / "targets").write_text(TARGETS + "bookworm-backports http://b/ Debian Backports\n" * known)
    done = sandbox.lab("image", *option, LAB_APT_SOURCES=str(sandbox.root))
    assert done.returncode == 0, done.stderr
    *_, of_suite, own = (line for line in sandbox.calls("apt-get") if "python3-venv" not in line)
    assert of_suite.endswith(" install --target-release=bookworm-backports qemu-system-x86 qemu-utils")
    assert {"packer", "xorriso"} <= set(own.split())
    assert not {"vagrant-lxc", "qemu-utils", "--target-release=bookworm-backports"} & set(own.split())
    added = sandbox.root / "rackbox-bookworm-backports.sources"
    assert added.exists() is not known
    if added.exists():
        lines = added.read_text().splitlines()
        assert {"URIs: http://mirror/debian/", "Suites: bookworm-backports", "Components: main"} <= set(lines)
        assert "adding Debian's bookworm-backports" in done.stderr


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["up", "--help"]])
def test_a_help_installs_nothing(sandbox: Sandbox, argv: list[str]) -> None:
    done = sandbox.lab(*argv)
    assert done.returncode == 0
    assert "usage: ./lab TASK" in done.stdout
    assert "doctor" in done.stdout
    assert sandbox.calls("") == []
    assert not (sandbox.project / ".venv").exists()


def test_with_all_there_it_only_runs_the_task(complete: Sandbox) -> None:
    for argv in (["up"], ["test", "--e2e"], ["--help"], []):
        assert complete.lab(*argv).returncode == 0
    assert complete.calls("apt-get") == []
    assert [line for line in complete.calls("python3") if "rackbox.program" not in line] == []


def test_with_all_there_it_is_fast(complete: Sandbox) -> None:
    def once() -> float:
        started = time.monotonic()
        complete.lab("up")
        return time.monotonic() - started

    assert min(once() for _ in range(5)) < 0.15


def test_arguments_pass_untouched_from_any_directory(complete: Sandbox) -> None:
    elsewhere = complete.root / "else where"
    elsewhere.mkdir()
    done = complete.lab("ssh", "lb1", "--", "sh", "-c", "echo 'a  b' $HOME *", "", cwd=elsewhere)
    assert done.stdout == f"program:[ssh][lb1][--][sh][-c][echo 'a  b' $HOME *][] in {elsewhere}\n"


def test_a_link_to_lab_finds_its_project(complete: Sandbox) -> None:
    link = complete.root / "link"
    link.symlink_to(complete.project / "lab")
    done = subprocess.run([link, "plan"], env=complete.environment(), capture_output=True, text=True, check=False)
    assert done.stdout.startswith("program:[plan]")


@pytest.mark.parametrize("code", [0, 1, 2, 3, 130])
def test_the_exit_code_is_the_tasks(complete: Sandbox, code: int) -> None:
    assert complete.lab("status", PROGRAM_CODE=str(code)).returncode == code


def test_the_environment_is_made_again_when_the_lock_changes(complete: Sandbox) -> None:
    (complete.project / "requirements.txt").write_text("# newer\n")
    assert complete.lab("plan").returncode == 0
    assert len([line for line in complete.calls("python3") if "pip install" in line]) == 1
    complete.forget()
    assert complete.lab("plan").returncode == 0
    assert [line for line in complete.calls("python3") if "pip install" in line] == []


def test_only_hashed_wheels_are_installed(complete: Sandbox) -> None:
    (complete.project / "requirements-dev.txt").write_text("# newer\n")
    complete.lab("test")
    (install,) = (line for line in complete.calls("python3") if "pip install" in line)
    assert "--require-hashes" in install
    assert "--only-binary=:all:" in install
    assert install.endswith("requirements-dev.txt")


def test_a_moved_project_gets_its_own_environment(complete: Sandbox) -> None:
    complete.project.rename(complete.root / "moved")
    (complete.root / "a project").symlink_to(complete.root / "moved")
    assert complete.lab("plan").returncode == 0
    assert [line for line in complete.calls("python3") if "pip install" in line]
    assert (complete.root / "moved" / ".venv" / "site" / "rackbox.pth").read_text() == f"{complete.root}/moved\n"


def test_two_at_once_set_up_once(sandbox: Sandbox) -> None:
    (sandbox.root / "no-venv").unlink()
    env = sandbox.environment(PIP_SECONDS="0.5")
    started = [
        subprocess.Popen(sandbox.command("plan"), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    ends = [process.communicate(timeout=30) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert all(out.startswith("program:[plan]") for out, _ in ends)
    assert len([line for line in sandbox.calls("python3") if "pip install" in line]) == 1


def test_an_interrupted_set_up_is_done_again(sandbox: Sandbox) -> None:
    (sandbox.root / "no-venv").unlink()
    (sandbox.root / "pip-fails").touch()
    failed = sandbox.lab("plan")
    assert failed.returncode == 3
    assert "pip could not install requirements.txt" in failed.stderr
    (sandbox.root / "pip-fails").unlink()
    assert sandbox.lab("plan").returncode == 0


@needs_root
def test_apt_that_fails_shows_its_last_words_and_its_log(sandbox: Sandbox) -> None:
    (sandbox.root / "apt-fails").touch()
    done = sandbox.lab("up")
    assert done.returncode == 3
    assert "E: no space" in done.stderr
    log = done.stderr.rsplit(" is ", 1)[1].strip()
    assert "E: no space" in Path(log).read_text()
    assert done.stdout == ""


@needs_root
def test_without_root_it_says_what_is_missing_and_touches_nothing(sandbox: Sandbox) -> None:
    setpriv = shutil.which("setpriv")
    assert setpriv
    # Nobody, but one who can enter pytest's private directories.
    nobody = [setpriv, "--reuid=65534", "--clear-groups", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    done = subprocess.run(
        [*nobody, *sandbox.command("up")],
        env=sandbox.environment(),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 3
    assert "As root: apt-get update && apt-get install --no-install-recommends vagrant packer" in done.stderr
    assert not (sandbox.project / ".venv").exists()


@pytest.mark.parametrize(
    "release", ['ID=debian\nVERSION_ID="13"\n', "ID=ubuntu\nVERSION_ID=24.04\n", "ID=fedora\n", None]
)
def test_on_other_systems_it_installs_nothing_and_lets_the_task_say_what_is_missing(
    sandbox: Sandbox, release: str | None
) -> None:
    (sandbox.root / "no-venv").unlink()
    if release is None:
        (sandbox.root / "os-release").unlink()
    else:
        sandbox.release(release)
    done = sandbox.lab("up")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("program:[up]")
    assert sandbox.calls("apt-get") == []


def test_no_python_that_is_new_enough(sandbox: Sandbox) -> None:
    sandbox.release("ID=fedora\n")
    done = sandbox.lab("plan")
    assert done.returncode == 3
    assert "needs Python 3.11 or newer with its venv module" in done.stderr
    assert "Python 3.11.2" in done.stderr
