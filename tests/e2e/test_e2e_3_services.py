"""The services on the floating IP, from where clients stand and from this computer."""

from __future__ import annotations

from pathlib import Path

import pytest

from rackbox.credentials import ensure_credentials
from rackbox.run import run
from tests.e2e.labs import LabUnderTest, environment


@pytest.mark.timeout(30, func_only=True)
def test_one_machine_holds_the_floating_ip(lab: LabUnderTest) -> None:
    answers = lab.on_each(lab.names(), "ip -4 -oneline address show | awk '{print $4}'")
    holders = [name for name, said in answers.items() if f"{lab.floating_ip}/" in said]
    assert len(holders) == 1
    assert holders[0] in lab.names("lb")


@pytest.mark.timeout(30, func_only=True)
def test_a_client_that_trusts_only_the_labs_ca_uses_etcd_by_name_and_address(lab: LabUnderTest) -> None:
    by_name = f"https://etcd.{lab.live.topology.domain}:2379"
    lab.etcd(by_name, "put", "/e2e/named", "by name")
    assert lab.etcd(lab.etcd_url, "get", "/e2e/named").stdout.strip() == "by name"
    lab.etcd(lab.etcd_url, "put", "/e2e/numbered", "by address")
    assert lab.etcd(by_name, "get", "/e2e/numbered").stdout.strip() == "by address"


@pytest.mark.timeout(30, func_only=True)
def test_a_client_without_the_labs_certificate_is_refused(lab: LabUnderTest, tmp_path: Path) -> None:
    ensure_credentials(lab.live.topology, tmp_path / "of-another-lab")
    for identity in (Path("none"), tmp_path / "of-another-lab"):
        refused = lab.etcd(lab.etcd_url, "get", "/e2e/named", identity=identity, check=False)
        assert refused.returncode == 1
        assert "refused" in refused.stderr
    # …and a client that does not know the lab's CA does not trust the server.
    assert lab.client(["curl", "--silent", f"{lab.etcd_url}/health"], check=False).returncode == 60


@pytest.mark.timeout(60, func_only=True)
def test_from_this_computer_curl_and_etcdctl_reach_etcd_by_a_forwarder(lab: LabUnderTest) -> None:
    where, secrets = lab.status()["forwards"]["etcd"], lab.live.paths.secrets
    assert where.startswith("127.0.0.1:")
    identity = ["--cert", str(secrets / "client.pem"), "--key", str(secrets / "client.key")]
    curl = ["curl", "--silent", "--show-error", "--max-time", "5", "--cacert", str(secrets / "ca.pem"), *identity]
    assert '"health":"true"' in run([*curl, f"https://{where}/health"], timeout=10).stdout
    argv = ["etcdctl", f"--endpoints=https://{where}", f"--cacert={secrets / 'ca.pem'}", *identity]
    env = {**environment(), "ETCDCTL_API": "3"}
    assert run([*argv, "put", "/e2e/host", "from the host"], timeout=15, env=env).stdout.strip() == "OK"
    found = run([*argv, "get", "--print-value-only", "/e2e/host"], timeout=15, env=env)
    assert found.stdout.strip() == "from the host"


@pytest.mark.timeout(60, func_only=True)
def test_the_stats_page_wants_the_generated_password(lab: LabUnderTest) -> None:
    url = f"http://{lab.status()['forwards']['stats']}/"
    curl = ["curl", "--silent", "--max-time", "5", "--output", "/dev/null", "--write-out", "%{http_code}"]
    password = (lab.live.paths.secrets / "stats-password").read_text().strip()
    assert run([*curl, url], timeout=10).stdout == "401"
    assert run([*curl, "--user", "admin:guess", url], timeout=10).stdout == "401"
    assert run([*curl, "--user", f"admin:{password}", url], timeout=10).stdout == "200"


@pytest.mark.timeout(60, func_only=True)
def test_shell_stands_where_clients_do_with_credentials_at_hand(lab: LabUnderTest) -> None:
    assert lab.cli("shell", "--", "etcdctl", "put", "/e2e/shell", "two  words").stdout.strip() == "OK"
    got = lab.cli("shell", "--", "etcdctl", "get", "--print-value-only", "/e2e/shell")
    assert got.stdout == "two  words\n"
    assert "192.168.4.1/24" in lab.cli("shell", "--", "ip", "-4", "-o", "address").stdout
    lab.cli("shell", "--", "sh", "-c", "exit 7", code=7)


@pytest.mark.timeout(60, func_only=True)
def test_ssh_passes_arguments_and_exit_code_through(lab: LabUnderTest) -> None:
    words = ["two  words", "a'quote", 'double"quote', "$HOME", "*", "", "--lab"]
    said = lab.cli("ssh", "worker1", "--", "printf", "[%s]\\n", *words)
    assert said.stdout.splitlines() == [f"[{word}]" for word in words]
    lab.cli("ssh", "worker1", "--", "sh", "-c", "exit 42", code=42)
    unknown = lab.cli("ssh", "wroker1", "--", "true", code=3)
    assert "did you mean worker1?" in unknown.stderr


@pytest.mark.timeout(30, func_only=True)
def test_pacemakers_daemons_wait_no_longer_than_they_must(lab: LabUnderTest) -> None:
    """The library that is preloaded into them, as compiled on the balancer, in front of a Corosync that refuses."""
    mapped = lab.on_each(lab.names("lb"), "sudo grep --files-with-matches cut-waits /proc/[0-9]*/maps | wc --lines")
    daemons = lab.on_each(lab.names("lb"), "pgrep --count '^pacemaker'")
    assert all(int(mapped[name]) >= int(daemons[name]) >= 7 for name in mapped), (mapped, daemons)
    script = r"""
cd "$(mktemp -d)"
cat >refusing.c <<'C'
int asked;
int cpg_mcast_joined(unsigned long long handle, int guarantee, const void *parts, unsigned int refusals)
{
    return ++asked <= (int) refusals ? 6 : 1;
}
int count(void) { return asked; }
C
tcc -shared -nostdlib -o refusing.so refusing.c
cat >ask.py <<'PY'
import ctypes, sys, time
library = ctypes.CDLL(None)
for refusals in map(int, sys.argv[1:]):
    print(library.cpg_mcast_joined(ctypes.c_ulonglong(0), 0, None, refusals), library.count())
begun = time.monotonic()
library.sleep(2)
print(time.monotonic() - begun < 1.5)
PY
export LD_PRELOAD=/var/lib/rackbox/cut-waits.so:$PWD/refusing.so
/usr/bin/python3 ask.py 5
(exec -a pacemaker-controld /usr/bin/python3 ask.py 1000 1000 0)
"""
    said = lab.run(lab.names("lb")[0], script).stdout.splitlines()
    assert said[:2] == ["1 6", "False"], "five refusals are outlasted"
    assert said[2:] == ["6 101", "6 102", "1 103", "True"], "a hundred are not, nor waited for again; the sleep is cut"
