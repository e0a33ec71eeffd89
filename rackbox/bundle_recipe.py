"""What a bundle is made of, as data: which packages become which programs, which programs go into which images. Pure.

Versions stand in ``packaging/bundle/``; here is what does not change with them. Entry points: ``COMPONENTS``,
``IMAGES``, ``MANIFESTS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

BIN = "/usr/local/bin"
CNI = "/opt/cni/bin"
NODES = ("control-plane", "worker")
CONTROL_PLANE = ("control-plane",)
WORKERS = ("worker",)
ETCD = ("etcd",)

SUITE = "trixie"
"""The Debian release that images with a userland are made from, and Docker Engine is taken from."""
USERLAND = ("nftables", "iptables", "conntrack", "busybox-static")
"""What kube-proxy and flannel call (packet filters) and what flannel's manifest does (cp)."""


@dataclass(frozen=True, slots=True)
class Program:
    """A Go package that becomes a program. ``install`` is where it goes on machines of ``on``; without, it is only in
    an image."""

    package: str
    name: str
    install: str = ""
    on: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Where it is in a bundle."""
        return f"{'cni' if self.install.startswith(CNI) else 'bin'}/{self.name}"


@dataclass(frozen=True, slots=True)
class DebianProgram:
    """A program out of a Debian package: ``source`` is its path there."""

    package: str
    source: str
    name: str

    @property
    def install(self) -> str:
        return f"{BIN}/{self.name}"

    @property
    def path(self) -> str:
        """Where it is in a bundle."""
        return f"bin/{self.name}"


@dataclass(frozen=True, slots=True)
class Component:
    """What one call of `go build` makes. ``module`` is the one whose version is pinned; ``stamps`` are variables set at
    link time: ``{version}``, ``{major}``, ``{minor}`` and ``{date}`` are filled in."""

    name: str
    module: str
    programs: tuple[Program, ...]
    stamps: Mapping[str, str]
    tags: tuple[str, ...] = ()
    compiler: bool = False
    """Has C in it, for which a compiler and a static C library must be there."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image of one program. ``reference`` has ``{version}``; ``userland`` puts Debian's below it."""

    name: str
    component: str
    program: str
    reference: str
    inside: str
    on: tuple[str, ...]
    userland: bool = False
    optional: bool = False
    """A bundle may lack it: one of an earlier release, or a fetched one made without a Go toolchain."""
    published: bool = True
    """Whether its project publishes it; if not, it is built here for a bundle of what others publish, too."""
    beside: str = ""
    """The image, built here, without which this one is of no use."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A file of a component's module, kept as its project has it."""

    name: str
    component: str
    source: str


def _kubernetes(*names: str, install: str = "", on: tuple[str, ...] = ()) -> tuple[Program, ...]:
    return tuple(Program(f"k8s.io/kubernetes/cmd/{n}", n, f"{install}/{n}" if install else "", on) for n in names)


def _plugins(*names: str) -> tuple[Program, ...]:
    base = "github.com/containernetworking/plugins/plugins"
    return tuple(Program(f"{base}/{n}", n.partition("/")[2], f"{CNI}/{n.partition('/')[2]}", NODES) for n in names)


def _stamps_of(package: str) -> dict[str, str]:
    return {
        f"{package}.gitVersion": "v{version}",
        f"{package}.gitMajor": "{major}",
        f"{package}.gitMinor": "{minor}",
        f"{package}.gitCommit": "",
        f"{package}.gitTreeState": "clean",
        f"{package}.buildDate": "{date}",
    }


_CONTAINERD = "github.com/containerd/containerd/v2"
_ETCD = "go.etcd.io/etcd"
_CSI = "github.com/kubernetes-csi"
_TRAEFIK = "github.com/traefik/traefik/v3"
_QUIET = ("grpcnotrace",)
"""gRPC without its trace pages, as Kubernetes is built: programs are smaller, and share what was compiled."""

COMPONENTS = (
    Component("pause", "", (Program("./pause", "pause"),), {}),
    Component("flannel-cni", "", (Program("./flannel", "flannel", f"{CNI}/flannel", NODES),), {}),
    Component("gluster-csi", "", (Program("./driver", "gluster-csi"),), {"main.version": "v{version}"}, _QUIET),
    Component(
        "cni-plugins",
        "github.com/containernetworking/plugins",
        _plugins(
            "main/bridge",
            "main/host-device",
            "main/loopback",
            "main/ptp",
            "ipam/host-local",
            "ipam/static",
            "meta/bandwidth",
            "meta/firewall",
            "meta/portmap",
            "meta/tuning",
        ),
        {"github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion": "v{version}"},
    ),
    Component(
        "etcd",
        f"{_ETCD}/server/v3",
        (
            Program(f"{_ETCD}/server/v3", "etcd", f"{BIN}/etcd", ETCD),
            Program(f"{_ETCD}/etcdctl/v3", "etcdctl", f"{BIN}/etcdctl", ETCD),
            Program(f"{_ETCD}/etcdutl/v3", "etcdutl", f"{BIN}/etcdutl", ETCD),
        ),
        {},
    ),
    Component(
        "containerd",
        _CONTAINERD,
        tuple(
            Program(f"{_CONTAINERD}/cmd/{name}", name, f"{BIN}/{name}", NODES)
            for name in ("containerd", "containerd-shim-runc-v2", "ctr")
        ),
        {f"{_CONTAINERD}/version.Version": "v{version}", f"{_CONTAINERD}/version.Package": _CONTAINERD},
        tags=("urfave_cli_no_docs",),
    ),
    Component(
        "kubernetes",
        "k8s.io/kubernetes",
        _kubernetes("kubeadm", "kubelet", "kubectl", install=BIN, on=NODES)
        + _kubernetes("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"),
        {**_stamps_of("k8s.io/component-base/version"), **_stamps_of("k8s.io/client-go/pkg/version")},
        tags=_QUIET,
    ),
    *(
        Component(
            f"csi-{name}",
            f"{_CSI}/external-{name}/v{major}",
            (Program(f"{_CSI}/external-{name}/v{major}/cmd/csi-{name}", f"csi-{name}"),),
            {"main.version": "v{version}"},
            tags=_QUIET,
        )
        for name, major in (("provisioner", 6), ("resizer", 2))
    ),
    Component("coredns", "github.com/coredns/coredns", (Program("github.com/coredns/coredns", "coredns"),), {}),
    Component(
        "flannel",
        "github.com/flannel-io/flannel",
        (Program("github.com/flannel-io/flannel", "flanneld"),),
        {"github.com/flannel-io/flannel/pkg/version.Version": "v{version}"},
        tags=("netgo", "osusergo"),
        compiler=True,  # its UDP backend, which nobody here uses, is C and cannot be left out
    ),
    Component(
        "metallb",
        "go.universe.tf/metallb",
        (
            Program("go.universe.tf/metallb/controller", "controller"),
            Program("go.universe.tf/metallb/speaker", "speaker"),
        ),
        {},
    ),
    Component(
        "traefik",
        _TRAEFIK,
        (Program(f"{_TRAEFIK}/cmd/traefik", "traefik"),),
        {f"{_TRAEFIK}/pkg/version.Version": "{version}", f"{_TRAEFIK}/pkg/version.BuildDate": "{date}"},
    ),
)
"""Quick ones first: what is wrong with a computer is seen before the long ones."""

_CRI_DOCKERD = "github.com/Mirantis/cri-dockerd"
CRI_DOCKERD = Component(
    "cri-dockerd",
    _CRI_DOCKERD,
    (Program(_CRI_DOCKERD, "cri-dockerd", f"{BIN}/cri-dockerd", NODES),),
    {f"{_CRI_DOCKERD}/cmd/version.Version": "{version}"},
    tags=_QUIET,
)
"""What a kubelet speaks to Docker Engine through. In bundles that are asked for with it alone."""

DOCKER = "docker"
"""The component that Docker Engine is in a bundle: Debian's, in the version that its mirror has when first asked."""
DOCKER_PROGRAMS = (
    DebianProgram("docker.io", "usr/sbin/dockerd", "dockerd"),
    DebianProgram("docker-cli", "usr/bin/docker", "docker"),
    DebianProgram("tini", "usr/bin/tini", "docker-init"),
)
"""The engine's package first. Without docker-proxy: pods' ports are not the engine's business."""

_K8S = "registry.k8s.io"

IMAGES = (
    Image("pause", "pause", "pause", f"{_K8S}/pause:{{version}}", "/pause", NODES),
    *(
        Image(name, "kubernetes", name, f"{_K8S}/{name}:v{{version}}", f"{BIN}/{name}", CONTROL_PLANE)
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    ),
    Image(
        "kube-proxy", "kubernetes", "kube-proxy", f"{_K8S}/kube-proxy:v{{version}}", f"{BIN}/kube-proxy", NODES, True
    ),
    Image("etcd", "etcd", "etcd", f"{_K8S}/etcd:{{version}}-0", f"{BIN}/etcd", CONTROL_PLANE),
    Image("coredns", "coredns", "coredns", f"{_K8S}/coredns/coredns:v{{version}}", "/coredns", NODES),
    Image("flannel", "flannel", "flanneld", "ghcr.io/flannel-io/flannel:v{version}", "/opt/bin/flanneld", NODES, True),
    Image(
        "flannel-cni-plugin",
        "flannel-cni",
        "flannel",
        "ghcr.io/flannel-io/flannel-cni-plugin:v{version}",
        "/flannel",
        NODES,
        True,
    ),
    Image("metallb-controller", "metallb", "controller", "quay.io/metallb/controller:v{version}", "/controller", NODES),
    Image("metallb-speaker", "metallb", "speaker", "quay.io/metallb/speaker:v{version}", "/speaker", NODES),
    Image(
        "gluster-csi",
        "gluster-csi",
        "gluster-csi",
        "rackbox.internal/gluster-csi:v{version}",
        "/gluster-csi",
        WORKERS,
        optional=True,
        published=False,
    ),
    *(
        Image(
            f"csi-{name}",
            f"csi-{name}",
            f"csi-{name}",
            f"{_K8S}/sig-storage/csi-{name}:v{{version}}",
            f"/csi-{name}",
            WORKERS,
            optional=True,
            beside="gluster-csi",
        )
        for name in ("provisioner", "resizer")
    ),
    Image(
        "traefik",
        "traefik",
        "traefik",
        "docker.io/library/traefik:v{version}",
        f"{BIN}/traefik",
        WORKERS,
        optional=True,
    ),
)

MANIFESTS = (
    Manifest("flannel.yaml", "flannel", "Documentation/kube-flannel.yml"),
    Manifest("metallb.yaml", "metallb", "config/manifests/metallb-native.yaml"),
)


def reference_of(image: Image, components: Mapping[str, str]) -> str:
    """The image's name with its version."""
    return image.reference.format(version=components[image.component])
