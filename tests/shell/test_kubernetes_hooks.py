"""The hooks that only nodes of a cluster have, against fake programs: they work, and do nothing the second time."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from rackbox.oci import Entry, ImageConfig, write_image, write_layer
from rackbox.paths import PROJECT
from rackbox.render import GUEST_LIBRARY
from tests.shell.guest import CHANGES, FakeGuest

HOOKS = sorted((PROJECT / "provision/kubernetes").glob("*/[0-9][0-9]-*.sh"))
STACKED = "kubernetes-stacked"
DOCKER = "kubernetes-docker"
# Of each directory of hooks: machines that run them, and their lab.
NODES_OF = {
    "containerd": (("master1", "kubernetes"), ("worker1", "kubernetes")),
    "docker": (("master1", DOCKER), ("worker1", DOCKER)),
    "master": (("master1", "kubernetes"),),
    "node": (("master1", "kubernetes"), ("worker1", "kubernetes")),
    "stacked": (("master1", STACKED),),
}
RUNS = [(*node, path.name) for path in HOOKS for node in NODES_OF[path.parent.name]]
CLUSTER_CHANGES = re.compile(
    r"^(kubeadm init phase (certs|kubeconfig|control-plane|etcd|upload|addon)|kubectl apply|ctr .* import|docker load"
    r"|mount)\b"
)

FAKES = {
    "systemd-detect-virt": "",
    "mount": '[[ $1 != --bind ]] || cp "$2" "$3"',
    "ctr": """
case $* in
  *"images ls") echo "REF TYPE DIGEST"; cat "$STATE/images" 2>/dev/null || : ;;
  *import*) name=$(basename "${!#}" .tar); echo "registry.example/$name:v1.36.3 type sha256:$name" >>"$STATE/images" ;;
esac
""",
    "docker": """
case $* in
  image\\ inspect*) cat "$STATE/docker-${!#//\\//_}" ;;
  load*)
    named=$(tar --extract --to-stdout --file "${!#}" manifest.json)
    reference=$(jq --raw-output '.[0].RepoTags[0]' <<<"$named")
    jq --raw-output '.[0].Config | sub("blobs/sha256/"; "sha256:")' <<<"$named" >"$STATE/docker-${reference//\\//_}" ;;
esac
""",
    "kubeadm": """
kubernetes=$RACKBOX_ROOT/etc/kubernetes
case $* in
  *control-plane\\ all*) mkdir -p "$kubernetes/manifests" && touch "$kubernetes/manifests/kube-scheduler.yaml" ;;
  *etcd\\ local*) mkdir -p "$kubernetes/manifests" && cp "${!#}" "$kubernetes/manifests/etcd.yaml" ;;
  *kubeconfig\\ admin*) echo '    server: https://api.kube.demo:6443' >"$kubernetes/admin.conf" ;;
esac
""",
    "kubectl": """
case $* in
  *get\\ configmap\\ rackbox\\ *) cat "$STATE/mark" ;;
  *get\\ configmap*) cat "$STATE/claim" ;;
  *create\\ configmap\\ rackbox-addons*) [[ ! -e $STATE/claim ]] && sed 's/.*by=//' <<<"$*" >"$STATE/claim" ;;
  *delete\\ configmap*) rm -f "$STATE/claim" ;;
  *create\\ configmap*) sed -n 's/.*addons=\\([0-9a-f]*\\).*/\\1/p' <<<"$*" >"$STATE/mark" ;;
esac
""",
    "curl": """
case $* in
  *master3*/version) echo "{\\"gitVersion\\": \\"$(cat "$STATE/other" 2>/dev/null || echo v1.36.3)\\"}" ;;
  */version) echo '{"gitVersion": "v1.36.3"}' ;;
  *) echo '{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}' ;;
esac
""",
}


def make_guest(directory: Path, node: str, lab: str = "kubernetes") -> tuple[FakeGuest, dict[str, str]]:
    guest = FakeGuest(directory, node, lab)
    for name, body in FAKES.items():
        guest.fake(name, body)
    release = directory / "release"
    for path in ("bin/kubelet", "manifests/flannel.yaml", "manifests/metallb.yaml", "images/pause.tar"):
        (release / path).parent.mkdir(parents=True, exist_ok=True)
        (release / path).write_text("")
    for name in ("coredns", "etcd", "flannel", "kube-apiserver", "kube-proxy", "pause", "traefik") * (lab == DOCKER):
        make_archive(release / "images" / f"{name}.tar", name)
    for path, text in {"kernel/panic": "0", "kernel/panic_on_oops": "1", "vm/panic_on_oom": "0"}.items():
        _put(guest.root / "proc/sys" / path, f"{text}\n")
    for path in ("vm/overcommit_memory", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"):
        _put(guest.root / "proc/sys" / path, "5\n")
    _put(guest.root / "run/flannel/subnet.env", "FLANNEL_NETWORK=10.244.0.0/16\n")
    if node.startswith("master"):
        _put(guest.root / "etc/kubernetes/admin.conf", "    server: https://api.kube.demo:6443\n")
    return guest, {"RACKBOX_KUBERNETES": str(release)}


def make_archive(target: Path, name: str, content: str = "the first") -> None:
    layer = write_layer(target.with_suffix(".layer"), [Entry(name, content.encode())], 0)
    config = ImageConfig((f"/{name}", content), "amd64", 0)
    write_image(target, f"registry.example/{name}:v1.36.3", [layer], config)


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(("node", "lab", "hook"), RUNS)
def test_a_second_run_changes_nothing(node: str, lab: str, hook: str, tmp_path: Path) -> None:
    guest, extra = make_guest(tmp_path, node, lab)
    path = f"{guest.node.role}/{hook}"
    first = guest.hook(path, **extra)
    assert first.returncode == 0, first.stderr
    before = guest.files()
    guest.calls()
    second = guest.hook(path, **extra)
    assert second.returncode == 0, second.stderr
    calls = [line for line in guest.calls() if line != "mount --make-rshared /"]
    assert [line for line in calls if CHANGES.match(line) or CLUSTER_CHANGES.match(line)] == []
    assert guest.files() == before


def test_a_kubelet_finds_the_kernel_as_it_wants_it(tmp_path: Path) -> None:
    guest, extra = make_guest(tmp_path, "worker1")
    assert guest.hook("worker/05-fence-kernel.sh", **extra).returncode == 0
    bound = [line for line in guest.calls() if line.startswith("mount --bind")]
    assert len(bound) == 4, "those that were not right"
    assert (guest.root / "proc/sys/kernel/panic").read_text() == "10\n"


def test_in_a_virtual_machine_the_kernel_is_the_kubelet_s_own(tmp_path: Path) -> None:
    guest, extra = make_guest(tmp_path, "worker1")
    guest.fake("systemd-detect-virt", "exit 1")
    assert guest.hook("worker/05-fence-kernel.sh", **extra).returncode == 0
    assert not [line for line in guest.calls() if line.startswith("mount")]


def test_docker_loads_what_it_lacks_or_has_in_another_form(tmp_path: Path) -> None:
    """By the config's digest, which is what Docker knows an image by: the manifest's, in the list, says nothing."""
    guest, extra = make_guest(tmp_path, "worker1", DOCKER)
    listed = (guest.root / "etc/rackbox/kubernetes/images").read_text().splitlines()
    archives = [line.split()[0] for line in listed if not line.startswith("#")]
    done = guest.hook("worker/12-load-images.sh", **extra)
    assert done.returncode == 0, done.stderr
    loaded = [line.rpartition("/")[2] for line in guest.calls() if line.startswith("docker load")]
    assert loaded == [archive.removeprefix("images/") for archive in archives]
    assert {"pause.tar", "kube-proxy.tar"} <= {*loaded}
    make_archive(Path(extra["RACKBOX_KUBERNETES"]) / "images/pause.tar", "pause", "another")
    assert guest.hook("worker/12-load-images.sh", **extra).returncode == 0
    assert [line.rpartition("/")[2] for line in guest.calls() if line.startswith("docker load")] == ["pause.tar"]


@pytest.mark.parametrize(
    ("wanted", "given"), [(-998, "own"), (1000, 1000), (None, None)], ids=["lower", "higher", "none"]
)
def test_no_container_gets_an_oom_score_below_the_engine_s(
    wanted: int | None, given: int | str | None, tmp_path: Path
) -> None:
    """Else none would start where root may not lower it; all other calls reach runc as they are."""
    guest, _ = make_guest(tmp_path, "worker1", DOCKER)
    guest.fake("runc", "")
    program = "restrained-runc"
    settings = json.loads((guest.root / "etc/docker/daemon.json").read_text())
    named = settings["runtimes"][settings["default-runtime"]]["path"]
    assert named == f"{GUEST_LIBRARY}/{program}"
    config = tmp_path / "bundle/config.json"
    process = {"args": ["/pause"], **({} if wanted is None else {"oomScoreAdj": wanted})}
    _put(config, json.dumps({"ociVersion": "1.2.0", "process": process}))
    for words in (["--root", "/r", "create", "--bundle", str(config.parent), "id"], ["kill", "id", "9"]):
        done = guest.script(program, *words)
        assert done.returncode == 0, done.stderr
        assert guest.calls() == [f"runc {' '.join(words)}"]
    own = int(Path("/proc/self/oom_score_adj").read_text())
    expected = process if wanted is None else process | {"oomScoreAdj": own if given == "own" else given}
    assert json.loads(config.read_text()) == {"ociVersion": "1.2.0", "process": expected}


def test_docker_stands_on_a_containerd_that_runs(tmp_path: Path) -> None:
    guest, extra = make_guest(tmp_path, "worker1", DOCKER)
    for hook in ("10-start-containerd.sh", "11-start-docker.sh", "40-start-kubelet.sh"):
        assert guest.hook(f"worker/{hook}", **extra).returncode == 0
    started = [line.split()[2] for line in guest.calls() if line.startswith("systemctl start")]
    assert started == ["containerd.service", "docker.service", "cri-docker.service", "kubelet.service"]
    settings = guest.root / "etc/docker/daemon.json"
    settings.write_text(settings.read_text().replace("8m", "9m"))
    assert guest.hook("worker/11-start-docker.sh", **extra).returncode == 0
    assert [line for line in guest.changes() if "restart" in line] == ["systemctl restart docker.service"]


def test_the_second_master_leaves_the_add_ons_to_the_first(tmp_path: Path) -> None:
    guest, extra = make_guest(tmp_path / "one", "master1")
    assert guest.hook("master/60-apply-addons.sh", **extra).returncode == 0
    mark = (guest.state / "mark").read_text()
    other, extra = make_guest(tmp_path / "two", "master2")
    (other.state / "mark").write_text(mark)
    assert other.hook("master/60-apply-addons.sh", **extra).returncode == 0
    assert not [line for line in other.calls() if CLUSTER_CHANGES.match(line)], "their marks are the same"


def test_whoever_comes_first_does_the_add_ons(tmp_path: Path) -> None:
    guest, extra = make_guest(tmp_path, "master2")
    (guest.state / "claim").write_text("master2\n")
    assert guest.hook("master/60-apply-addons.sh", **extra).returncode == 0, "one that was broken off goes on"
    assert [line for line in guest.calls() if CLUSTER_CHANGES.match(line)]
    assert not (guest.state / "claim").exists()


def test_in_the_middle_of_an_upgrade_the_add_ons_wait(tmp_path: Path) -> None:
    guest, extra = make_guest(tmp_path, "master1")
    (guest.state / "other").write_text("v1.35.4")
    done = guest.hook("master/60-apply-addons.sh", **extra)
    assert done.returncode == 0, done.stderr
    assert "master3.kube.demo has v1.35.4, this master v1.36.3" in done.stdout
    assert not [line for line in guest.calls() if CLUSTER_CHANGES.match(line)]


@pytest.mark.parametrize("asked", [True, False])
def test_an_ingress_controller_goes_that_is_not_asked_for_any_more(asked: bool, tmp_path: Path) -> None:
    guest, extra = make_guest(tmp_path, "master1")
    file = guest.root / "etc/rackbox/kubernetes/addons/kustomization.yaml"
    if not asked:
        file.write_text(file.read_text().replace("  - ingress.yaml\n", ""))
    assert guest.hook("master/60-apply-addons.sh", **extra).returncode == 0
    deleted = [line for line in guest.calls() if "rackbox.internal/addon=ingress" in line]
    assert len(deleted) == (0 if asked else 1)


def test_another_name_in_the_config_is_another_certificate(tmp_path: Path) -> None:
    guest, extra = make_guest(tmp_path, "master1")
    assert guest.hook("master/30-make-control-plane.sh", **extra).returncode == 0
    guest.calls()
    config = guest.root / "etc/rackbox/kubernetes/kubeadm.yaml"
    config.write_text(config.read_text() + "# more\n")
    assert guest.hook("master/30-make-control-plane.sh", **extra).returncode == 0
    assert any(line.startswith("kubeadm init phase certs all") for line in guest.calls())


def test_masters_found_an_etcd_of_pods_together_or_join_it(tmp_path: Path) -> None:
    guest, extra = make_guest(tmp_path, "master1", STACKED)

    def told() -> dict[str, str]:
        """What kubeadm is told beside what it would be told anywhere."""
        assert guest.hook("master/32-make-etcd.sh", **extra).returncode == 0
        made = list(yaml.safe_load_all((guest.root / "etc/kubernetes/manifests/etcd.yaml").read_text()))[1]
        arguments = {argument["name"]: argument["value"] for argument in made["etcd"]["local"]["extraArgs"]}
        return {name: value for name, value in arguments.items() if name.startswith(("initial-cluster", "listen-"))}

    everybody = ",".join(f"master{number}=https://192.168.1.1{number}:2380" for number in (1, 2, 3))
    metrics = "http://127.0.0.1:2381,http://192.168.1.11:2381"
    lab = {"initial-cluster-token": STACKED, "listen-metrics-urls": metrics}
    assert told() == lab | {"initial-cluster": everybody, "initial-cluster-state": "new"}
    joining = guest.root / "var/lib/etcd/joining"
    _put(joining, "ETCD_INITIAL_CLUSTER_STATE=existing\nETCD_INITIAL_CLUSTER=a=https://192.168.1.9:2380\n")
    assert told() == lab | {"initial-cluster": "a=https://192.168.1.9:2380", "initial-cluster-state": "existing"}


def test_an_etcd_of_pods_that_the_balancers_could_not_ask_is_made_anew(tmp_path: Path) -> None:
    guest, extra = make_guest(tmp_path, "master1", STACKED)
    manifest = guest.root / "etc/kubernetes/manifests/etcd.yaml"
    made = []
    for _ in range(2):
        assert guest.hook("master/32-make-etcd.sh", **extra).returncode == 0
        made.append(bool(guest.calls()))
    assert made == [True, False]
    manifest.write_text(manifest.read_text().replace(",http://192.168.1.11:2381", ""))
    assert guest.hook("master/32-make-etcd.sh", **extra).returncode == 0
    assert ",http://192.168.1.11:2381" in manifest.read_text()


def test_masters_agree_on_what_the_cluster_is(tmp_path: Path) -> None:
    """Whoever finds another configuration than its own in the cluster applies the add-ons again, beside the others."""
    texts = set()
    for name in ("master1", "master2"):
        guest, _ = make_guest(tmp_path / name, name, STACKED)
        texts.add((guest.root / "etc/rackbox/kubernetes/kubeadm.yaml").read_text().partition("\n---\n")[2])
    assert len(texts) == 1


def test_a_certificate_that_is_renewed_reaches_the_pod(tmp_path: Path) -> None:
    guest, extra = make_guest(tmp_path, "master1", STACKED)
    own, seen = guest.root / "etc/etcd/pki/node.pem", guest.root / "etc/kubernetes/pki/etcd/server.crt"
    for text in (own.read_text(), "(a newer certificate)\n"):
        own.write_text(text)
        assert guest.hook("master/10-start-etcd.sh", **extra).returncode == 0
        assert seen.read_text() == text
    assert not [line for line in guest.changes() if "etcd.service" in line]
