"""The tasks `bundle.*`, which ``tasks.py`` takes in as a collection. Like that file a switchboard."""

from __future__ import annotations

from rackbox.task import Context, command, group, out_file


@command(
    name="build",
    default=True,
    from_="go (build pinned modules here), upstream (fetch published releases and images) or packages (the same, "
    "Kubernetes itself from its package repository)",
    minor="which minor of Kubernetes (default: the newest there are versions for)",
    docker="add Docker Engine and cri-dockerd, for labs with kubernetes.runtime: docker",
    sources="for upstream and packages: a YAML file with other base URLs (default: packaging/bundle/sources.yaml)",
)
def build_bundle(_: Context, from_: str = "go", minor: str = "", sources: str = "", docker: bool = False) -> int:
    """Make an offline Kubernetes bundle: programs, images, checksums, SBOM. Goes on where it was broken off."""
    from rackbox import bundles

    return bundles.command(from_, minor, sources, docker)


@command(name="list")
def list_bundles(_: Context, json: bool = False) -> int:
    """Show the bundles that are there: versions, origin, age, size."""
    from rackbox import bundles

    return bundles.list_command(json)


@command(bundle="a directory, or a version or its beginning (default: the newest)")
def check(_: Context, bundle: str = "") -> int:
    """Hold a bundle against its checksums and look into its images."""
    from rackbox import bundles

    return bundles.check_command(bundle)


@command(to="the file to write", bundle="a directory, or a version or its beginning (default: the newest)")
def save(_: Context, to: str, bundle: str = "") -> int:
    """Write a bundle into one file, to be carried to a computer without a network."""
    from rackbox import bundles

    return bundles.save_command(out_file(to, "TO"), bundle)


@command(file="what `bundle.save` has written")
def load(_: Context, file: str) -> int:
    """Take a bundle in from a file, after everything in it was held against its checksums."""
    from rackbox import bundles

    return bundles.load_command(file)


COLLECTION = group("bundle", build_bundle, list_bundles, check, save, load)
