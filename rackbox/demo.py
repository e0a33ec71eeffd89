"""`invoke demo`: a web application with a real database in the lab's cluster, and the ways to it.

It makes the image if there is none, brings it to the workers, applies ``demo/objects.yaml.j2``, waits until all of it
serves, and opens a forwarder from 127.0.0.1 to its LoadBalancer address. Safe to run again.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rackbox.config_kubernetes import INGRESS_WEB
from rackbox.consoles import open_console
from rackbox.demo_image import SOURCES, ensure_image, image_reference
from rackbox.errors import EXIT_OK, LabError
from rackbox.forward import Forward
from rackbox.forwarding import open_forwarders, read_forwards
from rackbox.kubeconfig import environment, require_cluster
from rackbox.lab import LiveLab, lab_lock, open_lab
from rackbox.progress import Steps
from rackbox.release import STORAGE_CLASS
from rackbox.run import Result, run
from rackbox.runtimes import runtime_of
from rackbox.templating import Templates
from rackbox.topology import Node, Topology
from rackbox.wait import NotYet, wait_for

NAMESPACE = "demo"
HOST_PORT = 18080
READY_SECONDS = 180.0
LOAD_SECONDS = 180.0
REPLICAS = 2
HEADER = "Made by rackbox from demo/objects.yaml.j2: edit that, not this, then run `./lab demo`."
PARTS = ("statefulset/database", "deployment/web")


def command(lab_file: Path, remove: bool) -> int:
    """0 when the demo serves, or is gone."""
    console = open_console(stderr=True)
    lab = open_lab(lab_file)
    lab.require_up()
    require_cluster(lab)
    steps = Steps(console)
    with lab_lock(lab.paths):
        if remove:
            with steps.step("demo removed" if _has_claims(lab) else "demo removed (its data stays on the volume)"):
                for what in (("namespace", NAMESPACE), ("persistentvolume", "demo-database")):
                    kubectl(lab, "delete", *what, "--ignore-not-found", timeout=120)
            return EXIT_OK
        with steps.step("image made"):
            archive = ensure_image(lab.home)
        with steps.step("image on the workers"):
            _spread_image(lab, archive)
        with steps.step("demo serves"):
            kubectl(lab, "apply", "--filename", "-", input=_render(lab))
            for part in PARTS:
                _wait_rolled_out(lab, part)
            address = _wait_address(lab)
            hosts = ingress_hosts(lab.topology)
            if hosts:
                _wait_ingress(lab, hosts[0])
        port = open_forwarders(lab, "demo", [Forward("demo", HOST_PORT, address, 80)])["demo"] if address else 0
    if address:
        print(f"in the lab   http://{address}/")
        print(f"on this host http://127.0.0.1:{port}/")
    print(f"by NodePort  http://{lab.topology.by_role('worker')[0].fqdn}:30080/")
    if hosts:
        print(f"by Ingress   http://{hosts[0]}/")
        if here := read_forwards(lab).get(INGRESS_WEB):
            print(f"Ingress here http://{hosts[1]}:{here}/")
    return EXIT_OK


def kubectl(lab: LiveLab, *words: str, input: str | None = None, timeout: float = 60.0, check: bool = True) -> Result:
    """Run the release's own kubectl against the lab's cluster, and wait for it."""
    program = require_cluster(lab).directory / "bin" / "kubectl"
    return run([str(program), *words], timeout=timeout, check=check, input=input, env=os.environ | environment(lab))


def ingress_hosts(topology: Topology) -> tuple[str, ...]:
    """The names that the demo's Ingress has: in the lab, and on this computer, where all below localhost is loopback
    (RFC 6761, section 6.3). None where nobody would serve it on port 80."""
    cluster = topology.kubernetes
    if cluster is None or INGRESS_WEB not in {service.name for service in topology.services if service.proxy_protocol}:
        return ()
    return f"{NAMESPACE}.{cluster.ingress_domain}", f"{NAMESPACE}.localhost"


def _has_claims(lab: LiveLab) -> bool:
    """Whether the cluster gives volumes to those who claim them."""
    return lab.topology.gluster_volume is not None and require_cluster(lab).has_storage


def _render(lab: LiveLab) -> str:
    storage = lab.topology.gluster_volume is not None
    base = lab.topology.gluster_mount if storage else "/var/lib/rackbox"
    template = "objects.yaml.j2"
    return Templates({template: (SOURCES / template).read_text(encoding="utf-8")}).render(
        template,
        {
            "header": HEADER,
            "image": image_reference(),
            "password": _password(lab.paths.secrets / "demo-password"),
            "data_directory": f"{base}/demo",
            "shared": storage,
            "storage_class": STORAGE_CLASS if _has_claims(lab) else "",
            "first_worker": lab.topology.by_role("worker")[0].name,
            "replicas": REPLICAS,
            "hosts": ingress_hosts(lab.topology),
        },
    )


def _password(path: Path) -> str:
    """The database's password: the lab's own, made once."""
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_hex(16))
    return path.read_text()


def _spread_image(lab: LiveLab, archive: Path) -> None:
    workers = lab.topology.by_role("worker")
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda node: load_image(lab, node, archive, image_reference()), workers))


def load_image(lab: LiveLab, node: Node, archive: Path, reference: str) -> None:
    """Have a machine's container runtime take an image in, unless it has one of that name."""
    runtime = runtime_of(lab.topology)
    there = lab.connections.run(node.name, runtime.list_images([reference]), timeout=20).stdout.split()
    if reference in there:
        return
    line = [*lab.connections.stream_argv(node.name), runtime.load]
    with archive.open("rb") as stream:
        done = subprocess.run(  # noqa: S603 - an argv list
            line, stdin=stream, capture_output=True, timeout=LOAD_SECONDS, check=False
        )
    if done.returncode:
        tail = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise LabError("\n".join([f"{node.name}: does not take {archive}", *tail]), f"`./lab ssh {node.name}`")


def _wait_rolled_out(lab: LiveLab, part: str) -> None:
    words = ("--namespace", NAMESPACE, "rollout", "status", part, f"--timeout={READY_SECONDS:.0f}s")
    result = kubectl(lab, *words, timeout=READY_SECONDS + 10, check=False)
    if not result.ok:
        pods = kubectl(lab, "--namespace", NAMESPACE, "get", "pods", "--output", "wide").stdout
        raise LabError(f"{part}: {result.stderr.strip()}\n{pods}", "`./lab kubectl -- -n demo describe pods`")


def _wait_address(lab: LiveLab) -> str:
    """The LoadBalancer address, once something answers there; "" where the lab has no pool."""
    cluster = lab.topology.kubernetes
    if cluster is None or not cluster.pool:
        return ""
    found = ""

    def probe() -> None:
        nonlocal found
        service = read_object(lab, "service", "web-public")
        ingress: Sequence[dict[str, str]] = service["status"].get("loadBalancer", {}).get("ingress", [])
        if not ingress:
            raise NotYet("no address was given to service web-public")
        found = ingress[0]["ip"]
        answer = run(lab.client_argv(["curl", "-sS", "-m", "3", f"http://{found}/readyz"]), timeout=10, check=False)
        if answer.stdout.strip() != "ok":
            raise NotYet(f"http://{found}/readyz: {answer.stderr.strip() or answer.stdout.strip()}")

    wait_for("the demo at its LoadBalancer address", probe, timeout=60, interval=0.5)
    return found


def _wait_ingress(lab: LiveLab, host: str) -> None:
    """Until the Ingress is served at its name, through DNS, the floating IP and a balancer."""

    def probe() -> None:
        answer = run(lab.client_argv(["curl", "-sS", "-m", "3", f"http://{host}/readyz"]), timeout=10, check=False)
        if answer.stdout.strip() != "ok":
            raise NotYet(f"http://{host}/readyz: {answer.stderr.strip() or answer.stdout.strip()}")

    wait_for("the demo's Ingress", probe, timeout=60, interval=0.5)


def read_object(lab: LiveLab, kind: str, name: str) -> dict[str, Any]:
    text = kubectl(lab, "--namespace", NAMESPACE, "get", kind, name, "--output", "json").stdout
    document: dict[str, Any] = json.loads(text)
    return document
