"""Which Kubernetes a lab is given on this computer, and why: ``choose_release``.

What the lab's file asks for is in the topology; what there is (a bundle in the catalogue, or none) is a fact of the
computer. A lab that has been booted stays with the bundle it has, whatever else has come into the catalogue since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rackbox.bundle import (
    MAKE_RUNTIME,
    Bundle,
    BundleFile,
    BundleManifest,
    age_of,
    kept_roots,
    machine_arch,
    minor_of,
    read_bundle,
    runtimes_of,
)
from rackbox.errors import ConfigError, LabError
from rackbox.topology import Kubernetes, Node, Topology
from rackbox.yamlfile import load_yaml

RELEASE_DIRECTORY = "/opt/rackbox/kubernetes"
"""Where the machines see the bundle."""
MAKE_ONE = "make one with `./lab bundle`, or name one by kubernetes.bundle"
STAYS = "a lab that has machines stays with its bundle: put it back, or take the lab down first"
FETCH = "`./lab up` fetches them, and `./lab bundle --from packages` does before"

WHERE = {"master": ("control-plane", "etcd"), "worker": ("worker",)}
"""What a role's machines need, by the words of a bundle's manifest."""

NEEDED = {"kubeadm", "kubelet", "kubectl"}
NEEDED_IMAGES = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "coredns",
    "pause",
    "flannel",
)
ETCD_IMAGE = "etcd"
"""Loaded where etcd is stacked; else it is a service of the machines."""
NOT_LOADED = ("flannel-cni-plugin",)
"""Images for what is done in another way here: the plugin is mounted."""
STORAGE_CLASS = "gluster"
STORAGE_IMAGES = ("gluster-csi", "csi-provisioner", "csi-resizer")
"""What volumes on the lab's Gluster need. A bundle may lack them: then there is no StorageClass."""
INGRESS_IMAGES = ("traefik",)
"""What serves Ingresses. A bundle may lack it: then nothing does."""
SERVER = "kubernetes"


@dataclass(frozen=True, slots=True)
class Image:
    """One container image of a release. ``path`` is its archive's below the release's directory, ``digest`` that of its
    manifest, ``on`` where it is needed."""

    reference: str
    path: str
    digest: str
    on: frozenset[str]

    @property
    def name(self) -> str:
        """``kube-apiserver`` of registry.k8s.io/kube-apiserver:v1.36.3."""
        return self.reference.rsplit("/", 1)[-1].split(":", 1)[0]

    @property
    def tag(self) -> str:
        """``v1.36.3`` of registry.k8s.io/kube-apiserver:v1.36.3."""
        return self.reference.rpartition(":")[2]


@dataclass(frozen=True, slots=True)
class Release:
    """A bundle, as far as machines are made from it. ``kubernetes`` is the release (1.36.3), ``arch`` the architecture
    in Go's words, ``source`` where it came from (go, upstream, packages), ``components`` are the versions of all in it,
    ``programs`` the names in its ``bin/``, ``plugins`` those in its ``cni/``, ``manifests`` those of its objects."""

    name: str
    directory: Path
    kubernetes: str
    arch: str
    source: str
    components: Mapping[str, str]
    programs: frozenset[str]
    plugins: frozenset[str]
    images: tuple[Image, ...]
    manifests: frozenset[str]

    @property
    def minor(self) -> str:
        return minor_of(self.kubernetes)

    @property
    def has_storage(self) -> bool:
        """Whether there is a driver for volumes on Gluster in it."""
        return {*STORAGE_IMAGES} <= {image.name for image in self.images}

    @property
    def has_ingress(self) -> bool:
        """Whether there is an ingress controller in it."""
        return {*INGRESS_IMAGES} <= {image.name for image in self.images}

    def images_of(self, node: Node, topology: Topology) -> tuple[Image, ...]:
        """What ``node`` has to have, what starts first at the front: nothing that its lab has no use for."""
        here = {*WHERE.get(node.role, ())}
        left_out = {*NOT_LOADED}
        if not topology.has_stacked_etcd:
            left_out.add(ETCD_IMAGE)
        if topology.gluster_volume is None:
            left_out |= {*STORAGE_IMAGES}
        if not topology.has_ingress:
            left_out |= {*INGRESS_IMAGES}
        wanted = [image for image in self.images if image.on & here and image.name not in left_out]
        order = (
            "pause",
            ETCD_IMAGE,
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "flannel",
            "kube-proxy",
        )
        rank = {name: number for number, name in enumerate(order)}
        return tuple(sorted(wanted, key=lambda image: (rank.get(image.name, len(rank)), image.reference)))

    def image(self, name: str) -> Image:
        return next(image for image in self.images if image.name == name)


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen and why, in words for a person. ``release`` is None where the lab comes without Kubernetes
    (``none``), and where the packages are still to be fetched; ``runtime`` says what runs the containers where that is
    not containerd, ``storage`` what comes of claims to volumes, ``ingress`` what comes of Ingresses."""

    source: Literal["bundle", "packages", "none"]
    reason: str
    release: Release | None = None
    runtime: str = ""
    storage: str = ""
    ingress: str = ""

    @property
    def to_fetch(self) -> bool:
        return self.source == "packages" and self.release is None

    @property
    def words(self) -> str:
        if self.release is None:
            return f"{self.source}: {self.reason}"
        more = "".join(f"; {part}" for part in (self.runtime, self.storage, self.ingress) if part)
        return f"{self.release.kubernetes} from bundle {self.release.name}: {self.reason}{more}"


def describe_runtime(release: Release, runtime: str) -> str:
    """What runs the containers, and in which version; "" for containerd."""
    if runtime != "docker":
        return ""
    engine = release.components[runtime].partition("+")[0]
    return f"pods by Docker {engine} through cri-dockerd {release.components['cri-dockerd']}"


def describe_storage(release: Release, gluster_volume: str | None) -> str:
    """What pods get that claim a volume."""
    if gluster_volume is None:
        return "no StorageClass, for the lab has no Gluster"
    if not release.has_storage:
        how = "`./lab bundle`, where there is Go, makes one that has it"
        return f"no StorageClass, for this bundle has no driver for Gluster ({how})"
    return f"StorageClass {STORAGE_CLASS} on Gluster volume {gluster_volume}"


def describe_ingress(release: Release, topology: Topology) -> str:
    """What becomes of Ingresses in the lab that ``topology`` asks for."""
    cluster = topology.kubernetes
    if topology.load_balancer is None:
        return "no ingress controller, for the lab has no balancers"
    if cluster is None or not topology.has_ingress:
        return "no ingress controller, as kubernetes.ingress says"
    if not release.has_ingress:
        return "no ingress controller, for this bundle has no Traefik (one made by `./lab bundle` has)"
    vip = topology.load_balancer.floating_ip.address.ip
    if not any(service.name.startswith("ingress-") for service in topology.services):
        return f"Ingresses by Traefik at workers' ports alone: {vip}:80 and :443 are taken"
    return f"Ingresses by Traefik at *.{cluster.ingress_domain} ({vip})"


def choose_release(
    wished: Kubernetes, lab_file: Path, bundles: Path, booted: str = "", reachable: Callable[[], bool] = lambda: False
) -> Choice:
    """What ``wished`` comes to here. ``bundles`` is the catalogue; ``booted`` the directory of the bundle that the lab
    is running already; ``reachable`` says whether packages can be fetched, and is asked only where that decides. Raises
    ``LabError`` where what was asked for cannot be had."""

    def choose(source: Literal["bundle", "packages"], reason: str, release: Release) -> Choice:
        check_runtime(release, wished.runtime, lab_file, STAYS if booted else MAKE_RUNTIME)
        return Choice(source, reason, check_release(release, wished), describe_runtime(release, wished.runtime))

    if booted:
        return choose("bundle", "the lab was booted with it", read_release(Path(booted)))
    if wished.bundle:
        directory = (lab_file.parent / wished.bundle).resolve()
        return choose("bundle", "kubernetes.bundle names it", read_release(directory))
    if wished.source == "packages":
        found = find_release(bundles, wished.version, "packages", wished.runtime)
        if found is None:
            return Choice("packages", f"source: packages, and they are not here yet; {FETCH}")
        return choose("packages", "source: packages, and this is what was fetched", found)
    # Without one that can do it, the newest of all: it is refused by what it lacks.
    found = find_release(bundles, wished.version, runtime=wished.runtime) or find_release(bundles, wished.version)
    if found is not None:
        why = "source: bundle" if wished.source == "bundle" else "source: auto takes a bundle if there is one"
        able = "" if wished.runtime == "containerd" else f" with {wished.runtime}"
        return choose("bundle", f"{why}, and this is the newest{able}", found)
    make_one = MAKE_ONE if wished.runtime == "containerd" else MAKE_RUNTIME
    lacking = f"no bundle{f' of {wished.version}' if wished.version else ''} in {bundles}"
    if wished.source == "bundle":
        raise LabError(f"kubernetes.source: bundle: {lacking}", make_one)
    if reachable():
        return Choice("packages", f"source: auto, {lacking}, and packages can be reached; {FETCH}")
    return Choice("none", f"{lacking}, and packages cannot be reached; {make_one}")


def find_release(bundles: Path, version: str, source: str = "", runtime: str = "") -> Release | None:
    """The newest bundle of the catalogue for this computer, of that minor or release if one is given, from that source
    if one is given, enough for that runtime if one is given. Raises ``LabError`` for one that cannot be read."""
    wanted = [
        bundle
        for bundle in map(read_bundle, kept_roots(bundles))
        if _fits(bundle.kubernetes, version) and source in ("", bundle.source) and bundle.arch == machine_arch()
        if runtime in ("", *runtimes_of(bundle.components))
    ]
    return _release(max(wanted, key=age_of)) if wanted else None


def read_release(directory: Path) -> Release:
    """The bundle in ``directory``, by its manifest alone. Raises ``LabError``."""
    return _release(read_bundle(directory))


def _release(bundle: Bundle) -> Release:
    def below(place: str, parts: Iterable[BundleFile | BundleManifest]) -> frozenset[str]:
        return frozenset(part.path.removeprefix(place) for part in parts if part.path.startswith(place))

    return Release(
        name=bundle.version,
        directory=bundle.root,
        kubernetes=bundle.kubernetes,
        arch=bundle.arch,
        source=bundle.source,
        components=bundle.components,
        programs=below("bin/", bundle.files),
        plugins=below("cni/", bundle.files),
        images=tuple(Image(item.reference, item.path, item.digest, frozenset(item.on)) for item in bundle.images),
        manifests=below("manifests/", bundle.manifests),
    )


def check_runtime(release: Release, runtime: str, lab_file: Path, hint: str = MAKE_RUNTIME) -> None:
    """Raise ``ConfigError`` unless ``release`` is enough for the runtime that the lab's file asks for."""
    able = runtimes_of(release.components)
    if runtime not in able:
        text = f"must be {' or '.join(able)} with bundle {release.name}; got {runtime}"
        raise ConfigError([load_yaml(lab_file).problem(("kubernetes", "runtime"), text)], hint)


def check_release(release: Release, wished: Kubernetes) -> Release:
    """``release``, if it is whole by its own word, of one age, and what was asked for. Raises ``LabError``."""
    problems = []
    if not _fits(release.kubernetes, wished.version):
        problems.append(f"must be Kubernetes {wished.version}, as kubernetes.version says; got {release.kubernetes}")
    if release.arch != machine_arch():
        problems.append(f"must be for {machine_arch()}, as this computer is; got {release.arch}")
    problems += [f"lacks bin/{name}" for name in sorted(NEEDED - release.programs)]
    problems += [
        f"lacks cni/{name}" for name in ("bridge", "flannel", "host-local", "loopback") if name not in release.plugins
    ]
    names = {image.name for image in release.images}
    needed = (*NEEDED_IMAGES, ETCD_IMAGE) if wished.etcd == "stacked" else NEEDED_IMAGES
    problems += [f"lacks the image {name}" for name in needed if name not in names]
    wanted = ("flannel", *(("metallb",) if wished.pool else ()))
    problems += [f"lacks manifests/{name}.yaml" for name in wanted if f"{name}.yaml" not in release.manifests]
    problems += _skew(release)
    if problems:
        raise LabError(f"{release.directory}: {'; '.join(problems)}", MAKE_ONE)
    return release


def _skew(release: Release) -> list[str]:
    """Kubernetes' version skew policy: kubelet and kube-proxy may be up to three minors older than the API server and
    none newer, the control plane's other parts one older, kubectl one either way."""
    server = next((_minor(i.reference) for i in release.images if i.name == "kube-apiserver"), None)
    if server is None:
        return []
    allowed = {"kube-controller-manager": (1, 0), "kube-scheduler": (1, 0), "kube-proxy": (3, 0)}
    found = {image.name: _minor(image.reference) for image in release.images if image.name in allowed}
    # The programs have no tag; a bundle that mixes them names each one's version.
    for name, bounds in {"kubelet": (3, 0), "kubectl": (1, 1), "kubeadm": (0, 0)}.items():
        allowed[name] = bounds
        found[name] = _minor(":v" + release.components.get(name, release.components.get(SERVER, release.kubernetes)))
    problems = []
    for name, minor in found.items():
        older, newer = allowed[name]
        if minor is not None and not server - older <= minor <= server + newer:
            problems.append(
                f"{name} must be from 1.{server - older} to 1.{server + newer} beside an API server of 1.{server}; "
                f"got 1.{minor}"
            )
    return problems


def _minor(reference: str) -> int | None:
    tag = reference.rsplit(":v", 1)[-1].split(".")
    return int(tag[1]) if len(tag) > 1 and tag[1].isdigit() else None


def _fits(version: str, wanted: str) -> bool:
    return not wanted or version == wanted or version.startswith(f"{wanted}.")
