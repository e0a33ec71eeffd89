"""Topology + credentials + the ``provision/`` tree → every file of a lab, as data.

Entry points: ``render_lab`` (pure), ``write_rendered`` (the edge that puts the result on disk). Templates only print;
what they print is prepared here. Work is linear in the number of machines: each template is compiled once and the hook
text that all machines of a role share is formatted once.
"""

from __future__ import annotations

import hashlib
import os
import string
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rackbox.config_kubernetes import ETCD_HEALTH_PORT, NODE_PORT_PING, NODE_PORT_WEB, NODE_PORT_WEBSECURE
from rackbox.credentials import Credentials
from rackbox.hooks import VAGRANTFILE, SourceFile, Sources
from rackbox.release import RELEASE_DIRECTORY, STORAGE_CLASS, Release
from rackbox.runtimes import runtime_of
from rackbox.templating import GuestFile, RenderedFile, Templates, VagrantSetting, format_write_files, quote_sh
from rackbox.topology import KUBERNETES_ROLES, MANAGEMENT, WAN, Nic, Node, Topology, Volume

GUEST_LIBRARY = "/usr/local/lib/rackbox"
GUEST_USER = "vagrant"
HEALTH_PORT = 8405  # HAProxy's own health, on the balancer's 127.0.0.1 only
FENCE_PORT = 8406  # the lab's power switch, on the host's management address
BOOT_SECONDS = 300  # how long Vagrant waits for a machine's SSH
CLUSTER_WAIT_SECONDS = 280  # how long a hook waits for the other machines on the nodes of a cluster, at least
PEER_ROLES = frozenset({"lb", "master", "gluster"})  # roles whose machines must know each other
PRIVATE_FILES = frozenset({"/etc/haproxy/haproxy.cfg"})  # holds the stats page's password
SECRET_MODE = 0o600


@dataclass(frozen=True, slots=True)
class VagrantTarget:
    """What the Vagrantfile needs to know beside the topology. ``box_url`` and ``box_version`` may be empty."""

    provider: str
    box: str
    box_url: str = ""
    box_version: str = ""
    boot_timeout_s: int = BOOT_SECONDS
    directory: Path = Path("rendered")


def render_lab(
    topology: Topology,
    credentials: Credentials,
    provider_lines: Mapping[str, Sequence[VagrantSetting]],
    sources: Sources,
    target: VagrantTarget,
    release: Release | None = None,
    releases: Mapping[str, Release] | None = None,
    founders: Collection[str] = (),
) -> dict[str, RenderedFile]:
    """Every file of the lab by its path relative to the rendered directory.

    ``provider_lines`` are the provider block's lines by machine name. Files that hold a secret have mode 0600.
    ``release`` must be given where the topology has a cluster; ``releases`` are those of machines that have another one
    in the middle of an upgrade. ``founders`` are the masters that found etcd's cluster; none: all of them.
    """
    renderer = _Renderer(topology, credentials, sources, release, releases or {}, founders)
    files: dict[str, RenderedFile] = {}
    for node in topology.nodes:
        files |= renderer.render_node(node)
    common = {"topology": topology, "credentials": credentials, "target": target, "user": GUEST_USER}
    machines = [(node, provider_lines.get(node.name, ())) for node in topology.nodes]
    vagrantfile = renderer.templates.render(
        VAGRANTFILE, common | {"machines": machines, "header": _header(VAGRANTFILE)}
    )
    files["Vagrantfile"] = RenderedFile(vagrantfile)
    files["known_hosts"] = RenderedFile(_render_known_hosts(topology, credentials))
    files["ssh_config"] = RenderedFile(_render_ssh_config(topology, credentials, target))
    return files


def render_env(topology: Topology, node: Node, founders: Collection[str] = ()) -> dict[str, str]:
    """The variables of ``/etc/rackbox/env``, a machine's only inputs; ``provision/README.md`` has the table."""
    balancer = topology.load_balancer
    peers = topology.by_role(node.role) if node.role in PEER_ROLES else ()
    storage = topology.by_role("gluster") if node.role in ("gluster", "worker") else ()
    bricks = [volume.mount for volume in node.volumes if volume.name == "brick"]
    values = {
        "LAB": topology.lab,
        "NODE": node.name,
        "FQDN": node.fqdn,
        "ROLE": node.role,
        "DOMAIN": topology.domain,
        "ADDRESS": str(node.address),
        "LAB_NICS": " ".join(nic.network for nic in node.lab_nics),
        "DHCP_NICS": " ".join(nic.network for nic in node.nics if nic.dhcp),
        "LAB_ADDRESSES": " ".join(str(nic.address.ip) for nic in node.lab_nics),
        "GATEWAY": f"{topology.by_role('gateway')[0].fqdn}",
        "PEERS": " ".join(peer.fqdn for peer in peers),
        "ETCD_FOUNDS": "yes" if node.role == "master" and (not founders or node.name in founders) else "",
        "FLOATING_IP": str(balancer.floating_ip.address.ip) if balancer else "",
        "STATS_PORT": str(balancer.stats_port) if balancer and node.role == "lb" else "",
        "HEALTH_PORT": str(HEALTH_PORT) if node.role == "lb" else "",
        "HA": balancer.ha if balancer and node.role == "lb" else "",
        "HAPROXY_ON": balancer.haproxy_on if balancer and node.role == "lb" else "",
        "CUT_WAITS": "yes" if balancer and node.role == "lb" and balancer.cut_waits else "",
        "WATCH_HAPROXY": "yes" if balancer and node.role == "lb" and balancer.watches_haproxy else "",
        "QUORUM_HOST": _quorum_host(topology) if node.role in ("gateway", "lb") else "",
        "FENCE_URL": _fence_url(topology) if node.role == "lb" else "",
        "GLUSTER_SERVERS": " ".join(server.fqdn for server in storage),
        "GLUSTER_VOLUME": topology.gluster_volume or "" if storage else "",
        "GLUSTER_BRICK": bricks[0] if bricks else "",
        "GLUSTER_QUOTA": "yes" if topology.kubernetes and node.role == "gluster" else "",
        "GLUSTER_MOUNT": topology.gluster_mount if node.role == "worker" and storage else "",
        "VOLUMES": " ".join(_describe_volume(volume) for volume in node.volumes),
        "DISK_MIB": str(node.disk_mib or ""),
        "WAIT_SECONDS": str(_wait_seconds(topology, node)),
    }
    if topology.kubernetes is not None and node.role in KUBERNETES_ROLES:
        api = f"{topology.kubernetes.endpoint}:{topology.kubernetes.port}"
        values |= {"KUBERNETES": RELEASE_DIRECTORY, "API": api}
        values |= {"ETCD": "pod"} if node.role == "master" and topology.has_stacked_etcd else {}
        values |= {"RUNTIME": "docker"} if topology.kubernetes.runtime == "docker" else {}
    return {f"RACKBOX_{name}": value for name, value in values.items()}


def _describe_volume(volume: Volume) -> str:
    words = [volume.name, volume.mount, str(volume.size_mib)]
    return ":".join([*words, str(volume.disk_mib)] if volume.disk_mib else words)


def _wait_seconds(topology: Topology, node: Node) -> int:
    wait = -(-topology.wait_ms // 1000)
    return max(wait, CLUSTER_WAIT_SECONDS) if node in topology.kubernetes_nodes else wait


def _quorum_host(topology: Topology) -> str:
    """Where the balancers' third vote is: the gateway, on their own network. "" where they have none."""
    balancer = topology.load_balancer
    if balancer is None or balancer.ha != "pacemaker" or not balancer.third_vote:
        return ""
    return str(topology.network(balancer.floating_ip.network).gateway)


def _fence_url(topology: Topology) -> str:
    """Where a balancer asks to have the other one switched off: the host, on the management network."""
    balancer = topology.load_balancer
    if balancer is None or balancer.ha != "pacemaker" or not balancer.fencing:
        return ""
    return f"https://{topology.network(MANAGEMENT).client}:{FENCE_PORT}"


def escape_unit_path(path: str) -> str:
    """``path`` as systemd names a unit after it: what ``systemd-escape --path`` prints (systemd.unit(5))."""
    plain = string.ascii_letters + string.digits + ":_."
    trimmed = "/".join(part for part in path.split("/") if part)
    if not trimmed:
        return "-"
    escaped = "".join(
        "-" if char == "/" else char if char in plain else "".join(f"\\x{byte:02x}" for byte in char.encode())
        for char in trimmed
    )
    return f"\\x2e{escaped[1:]}" if escaped.startswith(".") else escaped


def write_rendered(files: Mapping[str, RenderedFile], directory: Path) -> tuple[str, ...]:
    """Write ``files`` below ``directory`` (0700), each atomically; return the paths whose content changed."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    changed = []
    parents = set()
    for name, file in files.items():
        path = os.path.join(directory, name)  # strings, not Paths: a thousand machines are five thousand files
        data = file.data
        if _is_as_wanted(path, data, file.mode):
            continue
        parent = os.path.dirname(path)
        if parent not in parents:
            os.makedirs(parent, exist_ok=True)
            parents.add(parent)
        descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as stream:
            os.fchmod(descriptor, file.mode)
            stream.write(data)
        os.replace(f"{path}.new", path)
        changed.append(name)
    return tuple(changed)


def _is_as_wanted(path: str, data: bytes, mode: int) -> bool:
    try:
        if os.stat(path).st_mode & 0o777 != mode:
            return False
        with open(path, "rb") as stream:
            return stream.read() == data
    except FileNotFoundError:
        return False


class _Renderer:
    """One lab's rendering: what all machines share is prepared once."""

    def __init__(
        self,
        topology: Topology,
        credentials: Credentials,
        sources: Sources,
        release: Release | None,
        releases: Mapping[str, Release],
        founders: Collection[str],
    ) -> None:
        if topology.kubernetes is not None and release is None:
            raise ValueError("a lab with Kubernetes is rendered for a release")
        self._topology = topology
        self._release = release
        self._releases = releases
        self._founders = founders or [node.name for node in topology.by_role("master")]
        self._credentials = credentials
        self._sources = sources
        configs = {file.path: file.content for file in sources.tree if "/files/" in file.path}
        paths = {f"path:{path}": _guest_path(path) for path in configs}
        parts = {f.path: f.content for f in sources.tree if f.path.endswith(".j2") and "/files/" not in f.path}
        self.templates = Templates({**sources.templates, **parts, **configs, **paths})
        self._networks = {network.name: network for network in topology.networks}
        self._hooks: dict[str, str] = {}

    def render_node(self, node: Node) -> dict[str, RenderedFile]:
        configs = self._render_configs(node)
        variables = render_env(self._topology, node, self._founders)
        env = "".join(f"{name}={quote_sh(value)}\n" for name, value in variables.items())
        env = f"# {_header('the lab config')} It is the only input of this machine's hooks.\n{env}"
        own = (GuestFile("/etc/rackbox/env", env), *configs, *self._secrets_of(node))
        host_key = self._credentials.host_keys[node.name]
        values = {
            "topology": self._topology,
            "node": node,
            "user": GUEST_USER,
            "host_key": host_key,
            "authorized_key": self._credentials.ssh.public,
            "write_files": format_write_files(own) + self._shared_hooks(node.role),
            "nics": [self._describe_nic(nic) for nic in node.nics],
            "resolver": "127.0.0.1" if node.role == "gateway" else "",
        }
        files = {}
        digest = hashlib.sha256()
        for name, mode in (("user-data", SECRET_MODE), ("network-config", 0o644), ("meta-data", 0o644)):
            template = f"cloud-init/{name}.j2"
            text = self.templates.render(
                template, values | {"header": _header(template), "digest": digest.hexdigest()[:12]}
            )
            digest.update(text.encode())
            files[f"nodes/{node.name}/{name}"] = RenderedFile(text, mode)
        for config in configs:
            files[f"nodes/{node.name}/files{config.path}"] = RenderedFile(config.content, config.mode)
        return files

    def _secrets_of(self, node: Node) -> tuple[GuestFile, ...]:
        files = self._credentials.guest_files(node)
        cluster, kubernetes = self._credentials.cluster, self._topology.kubernetes
        if cluster is None or kubernetes is None:
            return files
        return files + cluster.guest_files(kubernetes, node, self._credentials.authority)

    def _render_configs(self, node: Node) -> tuple[GuestFile, ...]:
        values = self._config_values | {"node": node}
        release = self._releases.get(node.name, self._release)
        if release is not None and node.role in KUBERNETES_ROLES:
            values |= self._release_values(release) | {"images": release.images_of(node, self._topology)}
        result = []
        directories = ["common", node.role, *self._cluster_directories(node.role)]
        for source in (file for directory in directories for file in self._sources.below(f"{directory}/files")):
            content = source.content
            if source.path.endswith(".j2"):
                content = self.templates.render(source.path, values | {"header": _header(f"provision/{source.path}")})
            if not content.strip():
                continue  # a template that prints nothing says: this lab needs no such file
            path = self.templates.render(f"path:{source.path}", values)
            mode = 0o755 if source.executable else SECRET_MODE if path in PRIVATE_FILES else 0o644
            result.append(GuestFile(path, content, mode))
        return tuple(result)

    @cached_property
    def _config_values(self) -> dict[str, Any]:
        """What every config template may print; the same for all machines."""
        topology = self._topology
        return {
            "topology": topology,
            "lab_networks": topology.lab_networks,
            "balancers": topology.by_role("lb"),
            "masters": topology.by_role("master"),
            "founders": [node for node in topology.by_role("master") if node.name in self._founders],
            "gluster_nodes": topology.by_role("gluster"),
            "reservations": [
                (node, nic) for node in topology.nodes for nic in node.nics if nic.network not in (MANAGEMENT, WAN)
            ],
            "health_port": HEALTH_PORT,
            "quorum_host": _quorum_host(topology),
            "stats_password": self._credentials.stats_password,
            "gluster_mount_unit": f"{escape_unit_path(topology.gluster_mount)}.mount",
            "kubernetes": topology.kubernetes,
            "etcd_health_port": ETCD_HEALTH_PORT,
            "release_directory": RELEASE_DIRECTORY,
            "runtime": runtime_of(topology),
            "node_ports": {"web": NODE_PORT_WEB, "websecure": NODE_PORT_WEBSECURE, "ping": NODE_PORT_PING},
            "cluster_nics": sorted({nic.network for node in topology.kubernetes_nodes for nic in node.lab_nics}),
        }

    def _release_values(self, release: Release) -> dict[str, Any]:
        """What the templates of a machine may print that is made from ``release``: what a cluster has depends on it.
        ``storage_class`` is the class that claims are given volumes of, "" where there is none."""
        return {
            "release": release,
            "storage_class": STORAGE_CLASS if release.has_storage and self._topology.gluster_volume else "",
            "ingress": release.has_ingress and self._topology.has_ingress,
        }

    def _cluster_directories(self, role: str) -> tuple[str, ...]:
        """Where the hooks and files are that a role's machines have only as nodes of a cluster."""
        if self._topology.kubernetes is None or role not in KUBERNETES_ROLES:
            return ()
        stacked = ("kubernetes/stacked",) if role == "master" and self._topology.has_stacked_etcd else ()
        return "kubernetes/node", f"kubernetes/{role}", *stacked, f"kubernetes/{self._topology.kubernetes.runtime}"

    def _shared_hooks(self, role: str) -> str:
        """The runner, its library, the common hooks and the role's: formatted once a role.

        A cluster's hooks run among the role's own. One of the same name takes the place of the role's, which stays
        beside it as plain-<name>.
        """
        if role not in self._hooks:
            chosen = {
                file.path: file
                for file in self._sources.tree
                if file.path.split("/")[0] in ("lib", "common", role) and "/files/" not in file.path
            }
            for directory in self._cluster_directories(role):
                for file in self._sources.below(directory):
                    if "/files/" in file.path:
                        continue
                    path = f"{role}/{Path(file.path).name}"
                    if path in chosen:
                        plain = f"{role}/plain-{Path(file.path).name}"
                        chosen[plain] = replace(chosen[path], path=plain)
                    chosen[path] = replace(file, path=path)
            self._hooks[role] = format_write_files(tuple(_guest_hook(file) for file in chosen.values()))
        return self._hooks[role]

    def _describe_nic(self, nic: Nic) -> dict[str, Any]:
        network = self._networks[nic.network]
        upstream = network.gateway if nic.default_route and not nic.dhcp else None
        return {
            "name": nic.network,
            "mac": nic.mac,
            "dhcp": nic.dhcp,
            "address": nic.address.with_prefixlen,
            "required": nic.network == MANAGEMENT,
            "default_route": nic.default_route,
            "upstream": upstream,
        }


def _header(source: str) -> str:
    return f"Made by rackbox from {source}: edit that, not this, then run `./lab up`."


def _guest_path(path: str) -> str:
    """``lb/files/etc/x.conf.j2`` → ``/etc/x.conf``."""
    return "/" + path.split("/files/", 1)[1].removesuffix(".j2")


def _guest_hook(file: SourceFile) -> GuestFile:
    path = file.path.removeprefix("lib/")
    return GuestFile(f"{GUEST_LIBRARY}/{path}", file.content, 0o755 if file.executable else 0o644)


def _render_known_hosts(topology: Topology, credentials: Credentials) -> str:
    lines = [f"# {_header('the lab config')}"]
    for node in topology.nodes:
        kind, key = credentials.host_keys[node.name].public.split()[:2]
        lines.append(f"{node.name},{node.fqdn},{node.management.address.ip} {kind} {key}")
    return "\n".join(lines) + "\n"


def _render_ssh_config(topology: Topology, credentials: Credentials, target: VagrantTarget) -> str:
    """An OpenSSH config with one ``Host`` a machine; ssh_config(5) takes a path with blanks in double quotes."""
    known_hosts = target.directory / "known_hosts"
    identity = credentials.directory / "ssh" / "id_ed25519"
    lines = [f"# {_header('the lab config')}"]
    for node in topology.nodes:
        lines += [f"Host {node.name}", f"  HostName {node.management.address.ip}", f"  HostKeyAlias {node.name}"]
    lines += [
        "Host *",
        f"  User {GUEST_USER}",
        f'  IdentityFile "{identity}"',
        "  IdentitiesOnly yes",
        f'  UserKnownHostsFile "{known_hosts}"',
        "  GlobalKnownHostsFile /dev/null",
        "  StrictHostKeyChecking yes",
        "  PasswordAuthentication no",
        "  LogLevel ERROR",
    ]
    return "\n".join(lines) + "\n"
