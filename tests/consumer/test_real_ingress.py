"""Traefik out of the newest bundle that has it, with the objects and arguments that a cluster is given, behind a
balancer's HAProxy: a real API server says what it may read, real requests go the whole way. No kubelet, no pods."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from rackbox.bundle import Bundle, list_bundles
from rackbox.demo_image import SOURCES
from rackbox.oci import take_file
from rackbox.paths import find_home
from rackbox.pki import make_signing_key
from rackbox.templating import Templates
from tests.consumer.conftest import Inside, check
from tests.rendering import shipped

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]

LAB = shipped("kubernetes")
VIP, BALANCER, CLIENT = "192.168.4.20", "192.168.4.21", "192.168.4.1"
WORKERS = [str(node.address) for node in LAB.by_role("worker")]
ADDONS = "kubernetes/rendered/nodes/master1/files/etc/rackbox/kubernetes/addons"

# Everything stands in one network namespace. A route per worker says as whom it is connected to.
SCRIPT = r"""
trap '[[ $? == 0 ]] || tail -n 20 /tmp/stand/*.log >&2' EXIT
as() { for worker in $workers; do ip route change local "$worker" dev lo table local src "$1"; done; }
for address in $vip $balancer $client $workers; do ip address add "$address/32" dev lo; done
as "$balancer"
mkdir /tmp/stand && cd /tmp/stand
/bring/etcd --data-dir=etcd --listen-client-urls=http://127.0.0.1:12379 --advertise-client-urls=http://127.0.0.1:12379 \
  --listen-peer-urls=http://127.0.0.1:12380 >etcd.log 2>&1 &
echo 'secret,admin,1,"system:masters"' >tokens.csv
/bring/kube-apiserver --etcd-servers=http://127.0.0.1:12379 --service-account-issuer=https://kubernetes.default.svc \
  --service-account-key-file=/bring/accounts.pub --service-account-signing-key-file=/bring/accounts.key \
  --cert-dir=certs --authorization-mode=RBAC --token-auth-file=tokens.csv --service-cluster-ip-range=10.96.0.0/12 \
  --secure-port=16443 --bind-address=127.0.0.1 --advertise-address="$balancer" >api.log 2>&1 &
k() { /bring/kubectl --server=https://127.0.0.1:16443 --token=secret --insecure-skip-tls-verify "$@"; }
for turn in {1..200}; do [[ $(k get --raw /readyz 2>/dev/null) != ok ]] || break; sleep 0.3; done
k apply --server-side --filename /bring/ingress.yaml >&2
k create namespace demo >&2
k apply --filename /bring/demo.yaml >&2
k --namespace demo create ingress plain --rule='plain.apps.kube.demo/*=web:80' >&2
k --namespace demo create ingress empty --rule='empty.apps.kube.demo/*=empty:80' >&2
k --namespace demo create ingress other --class=other --rule='other.apps.kube.demo/*=web:80' >&2
python3 /bring/backend.py "$client" &
token=$(k --namespace ingress create token traefik)
cp certs/apiserver.crt / && chmod 0755 /tmp/stand
mapfile -t arguments </bring/arguments
HOME=/ setpriv --reuid=65532 --regid=65532 --clear-groups --no-new-privs --bounding-set=-all \
  /bring/traefik "${arguments[@]}" \
  --log.level=ERROR --providers.kubernetesingress.endpoint=https://127.0.0.1:16443 \
  --providers.kubernetesingress.token="$token" --providers.kubernetesingress.certauthfilepath=/apiserver.crt \
  >traefik.log 2>&1 &
traefik=$!
mkdir -p /run/haproxy
haproxy -f /etc/haproxy/haproxy.cfg >haproxy.log 2>&1 &
backends() {
  socat - UNIX-CONNECT:/run/haproxy/admin.sock <<<"show stat" | grep "^ingress-.*,worker[0-9]*," |
    cut -d, -f18 | sort -u
}
for turn in {1..100}; do [[ $(backends) != UP ]] || break; sleep 0.2; done
ask() { echo "$1: $(curl -sS -m 5 --insecure --interface "$client" -w ' %{http_code}' "${@:2}" 2>&1 | tr -d '\n')"; }
sleep 2
echo "backends: $(backends)"
ask http --resolve "demo.apps.kube.demo:80:$vip" http://demo.apps.kube.demo/x
ask https --resolve "demo.apps.kube.demo:443:$vip" https://demo.apps.kube.demo/x
ask localhost --header "Host: demo.localhost:10080" "http://$vip/"
ask plain --header "Host: plain.apps.kube.demo" "http://$vip/"
ask forged --header "Host: plain.apps.kube.demo" --header "X-Forwarded-For: 192.0.2.9" "http://$vip/"
ask empty --header "Host: empty.apps.kube.demo" "http://$vip/"
ask other --header "Host: other.apps.kube.demo" "http://$vip/"
ask unknown --header "Host: unknown.apps.kube.demo" "http://$vip/"
ask ping "http://$vip/ping"
ask at-ping --header "Host: plain.apps.kube.demo" "http://${workers%% *}:30012/"
as "$client"
ask past --header "Host: plain.apps.kube.demo" "http://${workers%% *}:30010/"
ask proxied --haproxy-clientip 192.0.2.9 --header "Host: plain.apps.kube.demo" "http://${workers%% *}:30010/"
as "$balancer"
echo "status: $(k --namespace demo get ingress demo --output 'jsonpath={.status.loadBalancer.ingress[*].ip}')"
echo "class: $(k --namespace demo get ingress plain --output 'jsonpath={.spec.ingressClassName}')"
kill -TERM "$traefik"
for turn in {1..40}; do
  said=$(curl -sS -m 1 http://127.0.0.1:30012/ping -o /dev/null -w '%{http_code}' 2>&1) || true
  [[ $said != 200 ]] && break
  sleep 0.05
done
echo "ending: $said"
ask while-ending --header "Host: plain.apps.kube.demo" "http://$vip/"
echo "log: $(cat traefik.log | tr '\n' ' ')"
kill %1 %2 $(jobs -p) 2>/dev/null || true
"""

BACKEND = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        data = f"{self.headers['X-Forwarded-For']} {self.headers['X-Forwarded-Proto']} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


ThreadingHTTPServer((sys.argv[1], 9000), Handler).serve_forever()
"""


def service(name: str, addresses: list[str]) -> list[dict[str, Any]]:
    """A service without a selector, and its endpoints."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "demo"},
            "spec": {"ports": [{"port": 80, "targetPort": 9000}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": "demo", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": 9000, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        },
    ]


def demo_ingress() -> dict[str, Any]:
    """The demo's own, of all its objects."""
    name = "objects.yaml.j2"
    values = {"header": "", "image": "i", "password": "p", "data_directory": "/d", "storage_class": "", "shared": True}
    hosts = ("demo.apps.kube.demo", "demo.localhost")
    text = Templates({name: (SOURCES / name).read_text()}).render(name, {**values, "replicas": 1, "hosts": hosts})
    (found,) = (item for item in yaml.safe_load_all(text) if item["kind"] == "Ingress")
    return {**found, "metadata": {**found["metadata"], "name": "demo"}}


@pytest.fixture
def bundle() -> Bundle:
    kept = list_bundles(find_home(os.environ, Path.home(), os.getuid()))
    found = [bundle for bundle in kept if any(image.path == "images/traefik.tar" for image in bundle.images)]
    if not found:
        pytest.skip("no bundle with Traefik in the catalogue: `./lab bundle` makes one")
    return found[-1]


def at_node_port(argument: str, ports: dict[str, str]) -> str:
    """Without kube-proxy Traefik listens at the workers' ports itself."""
    name, _, port = argument.rpartition(":")
    return f"{name}:{ports[port]}" if name.endswith(".address=") else argument


def test_a_request_goes_the_whole_way(bundle: Bundle, inside: Inside, rendered_labs: Path, tmp_path: Path) -> None:
    objects = (rendered_labs / ADDONS / "ingress.yaml").read_text()
    made = {item["kind"]: item for item in yaml.safe_load_all(objects)}
    node_ports = {item["targetPort"]: str(item["nodePort"]) for item in made["Service"]["spec"]["ports"]}
    (container,) = made["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    ports = {str(item["containerPort"]): node_ports[item["name"]] for item in container["ports"]}
    arguments = [at_node_port(argument, ports) for argument in container["args"]]
    private, public = make_signing_key()
    texts = {
        "ingress.yaml": objects,
        "arguments": "".join(f"{argument}\n" for argument in arguments),
        "demo.yaml": yaml.safe_dump_all([*service("web", [CLIENT]), *service("empty", []), demo_ingress()]),
        "backend.py": BACKEND,
        "accounts.key": private,
        "accounts.pub": public,
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    for name in ("kube-apiserver", "traefik"):
        take_file(bundle.root / f"images/{name}.tar", f"/usr/local/bin/{name}", tmp_path / name)
        (tmp_path / name).chmod(0o755)
    for name in ("etcd", "kubectl"):
        shutil.copy(bundle.root / "bin" / name, tmp_path / name)
    lead = f"vip={VIP} balancer={BALANCER} client={CLIENT} workers='{' '.join(WORKERS)}'\n"
    done = inside("kubernetes/lb1", lead + SCRIPT, bring=tmp_path, timeout=200)
    said = dict(line.split(": ", 1) for line in check(done).splitlines())
    assert "forbidden" not in said.pop("log"), "it may read all that it reads"
    assert said == {
        "backends": "UP",
        "http": f"{CLIENT} http /x 200",
        "https": f"{CLIENT} https /x 200",
        "localhost": f"{CLIENT} http / 200",
        "plain": f"{CLIENT} http / 200",
        "forged": f"{CLIENT} http / 200",
        "empty": "no available server 503",
        "other": "404 page not found 404",
        "unknown": "404 page not found 404",
        "ping": "404 page not found 404",
        "at-ping": "404 page not found 404",
        "past": f"{CLIENT} http / 200",
        "proxied": f"{CLIENT} http / 200",
        "status": VIP,
        "class": "traefik",
        "ending": "503",
        "while-ending": f"{CLIENT} http / 200",
    }
