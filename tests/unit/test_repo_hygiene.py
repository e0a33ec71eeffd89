"""What must never be in a commit: secrets, passwords everybody knows, addresses of package registries, this machine's
paths. (The reference set-ups keep their CA key, SSH key and Corosync key in git: defect 1.)

The same rules hold for rendered files: the golden tests grep those.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from rackbox.paths import PROJECT

pytestmark = pytest.mark.linter

PRIVATE_KEY = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/=]{16}")
# Passwords that guides print and people keep; a value that is made per lab has none of these forms.
KNOWN_PASSWORD = re.compile(
    rb"\b(?:admin:admin|vagrant:vagrant|stats auth \S+:(?:admin|password|stats|haproxy)\b|hacluster:\w+)"
    rb"|\bpassword\s*[:=]\s*[\"']?(?:admin|password|changeme|secret|vagrant|kubernetes|12345\w*)\b",
    re.IGNORECASE,
)
# In pieces, so that this file does not find itself.
_HOSTS = ("files.python|hosted.org", "pypi.|org", "deb.debian|.org", "security.debian|.org", "rubygems.|org")
_MORE_HOSTS = ("registry.npm|js", "proxy.go|lang.org", "artifact|ory")
REGISTRY = re.compile(
    "|".join(re.escape(host.replace("|", "")) for host in (*_HOSTS, *_MORE_HOSTS)).encode(), re.IGNORECASE
)
ABSOLUTE = re.compile(rb"(?<![\w.$}])/(?:work|home/[a-z]\w*|root/(?!\.ssh|\.local))/", re.IGNORECASE)
INSECURE_VAGRANT_KEY = rb"AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr"


def tracked_files() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [PROJECT / name for name in listing.stdout.split("\0") if name and (PROJECT / name).is_file()]


def found_in(pattern: re.Pattern[bytes], but: tuple[str, ...] = ()) -> list[str]:
    """``file:line: text`` of each match in a tracked file."""
    hits = []
    for path in tracked_files():
        name = path.relative_to(PROJECT).as_posix()
        data = path.read_bytes()
        for match in [] if name in but else pattern.finditer(data):
            line = data.count(b"\n", 0, match.start()) + 1
            hits.append(f"{name}:{line}: {match.group()[:60]!r}")
    return hits


def test_defect_01_no_private_key_is_tracked() -> None:
    assert found_in(PRIVATE_KEY) == []


def test_no_file_looks_like_key_material() -> None:
    names = [path.name for path in tracked_files()]
    suspicious = [n for n in names if re.fullmatch(r"(.*\.(key|pem|p12|jks)|id_(rsa|ed25519|ecdsa).*|authkey)", n)]
    assert suspicious == []


def test_no_password_that_everybody_knows() -> None:
    assert found_in(KNOWN_PASSWORD, but=("tests/unit/test_repo_hygiene.py",)) == []


def test_vagrants_published_key_is_nowhere() -> None:
    assert found_in(re.compile(re.escape(INSECURE_VAGRANT_KEY)), but=("tests/unit/test_repo_hygiene.py",)) == []


def test_no_package_registry_is_named() -> None:
    assert found_in(REGISTRY) == []


def test_no_path_of_one_machine() -> None:
    assert found_in(ABSOLUTE) == []


def test_lock_files_hold_names_versions_and_hashes_only() -> None:
    line = re.compile(r"[a-z0-9-]+==[\w.]+(?: ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}(?: \\)?")
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = (PROJECT / name).read_text(encoding="utf-8").splitlines()
        assert [text for text in lines if not line.fullmatch(text)] == []


def test_the_test_lock_agrees_with_the_product_lock() -> None:
    product, test = (
        set(re.findall(r"^\S+==\S+", (PROJECT / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("requirements.txt", "requirements-dev.txt")
    )
    assert product <= test


@pytest.mark.parametrize("lock", ["requirements", "requirements-dev"])
def test_every_dependency_is_locked(lock: str) -> None:
    wanted = (PROJECT / f"{lock}.in").read_text(encoding="utf-8").lower().splitlines()
    locked = (PROJECT / f"{lock}.txt").read_text(encoding="utf-8")
    missing = [name for name in wanted if name and name[0].isalpha() and f"\n{name}==" not in f"\n{locked}"]
    assert missing == []


def test_defect_09_nothing_is_fetched_unpinned_and_unverified() -> None:
    """What a box or a machine is made of comes from the distribution's signed archive or from a lock with hashes."""
    # curl is in the box, and its machines ask their own services with it: only what is kept is a download.
    keeps = r"curl\b.*(?:-[a-zA-Z]*[oO]\b|--output (?!/dev/null)|--remote-name|\|\s*(?:ba)?sh)"
    fetch = re.compile(rf"\b(?:{keeps}|wget\b|git clone|pip3? install|gem install|npm install|vagrant plugin install)")
    hits = []
    for path in tracked_files():
        name = path.relative_to(PROJECT).as_posix()
        if not name.startswith(("provision/", "packer/", "cloud-init/", "lab", ".ci/")) or name.endswith(".md"):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if fetch.search(line) and "--require-hashes" not in line and not line.lstrip().startswith("#"):
                hits.append(f"{name}:{number}: {line.strip()}")
    assert hits == []


@pytest.mark.parametrize(
    "text",
    [
        b"stats auth admin:admin",
        b"password: vagrant",
        b'password = "changeme"',
        b"echo hacluster:hacluster | chpasswd",
    ],
)
def test_the_password_pattern_bites(text: bytes) -> None:
    assert KNOWN_PASSWORD.search(text)


@pytest.mark.parametrize("text", [b"password: {{ stats_password }}", b"stats auth admin:Xk3v9bQ", b"ssh_password"])
def test_the_password_pattern_lets_generated_ones_be(text: bytes) -> None:
    assert not KNOWN_PASSWORD.search(text)
