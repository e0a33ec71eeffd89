"""A bundle as one file, to be carried to a computer without a network. Entry points: ``save_bundle``, ``load_bundle``.

The file is a tar that is not compressed: whoever wants it smaller can pipe it through zstd.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from rackbox.bundle import MANIFEST, REBUILD, Bundle, read_bundle
from rackbox.bundle_check import check_bundle
from rackbox.bundle_parts import bundle_builder, put_in_place
from rackbox.errors import LabError
from rackbox.paths import Home

SBOM = "sbom.cdx.json"
SAVE = "`./lab bundle.save` makes one"


def save_bundle(bundle: Bundle, target: Path) -> None:
    """Write the archive; it appears complete or not at all. Only what the manifest names goes in."""
    check_bundle(bundle, arch=bundle.arch)
    part = target.with_name(f"{target.name}.part")
    try:
        with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
            for name in (MANIFEST, SBOM, *sorted(entry.path for entry in bundle.parts)):
                path = bundle.root / name
                if path.exists():
                    archive.add(path, f"{bundle.version}/{name}", filter=_plain)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def load_bundle(home: Home, source: Path) -> Bundle:
    """Take an archive into the catalogue, after everything in it was held against its checksums."""
    if not source.exists():  # before waiting for anything
        raise LabError(f"{source}: no such file", SAVE)
    with bundle_builder(home) as work:
        out = work / "bundle"
        try:
            with tarfile.open(source) as archive:
                archive.extractall(out, filter="data")
        except tarfile.FilterError as error:  # a member that would be written elsewhere: its message names it
            raise LabError(f"{source}: not an archive of a bundle: {error}", SAVE) from error
        except tarfile.TarError as error:
            raise LabError(f"{source}: not an archive of a bundle", SAVE) from error
        except OSError as error:
            raise LabError(f"{source}: {error.strerror or error}", SAVE) from error
        found = sorted(out.glob(f"*/{MANIFEST}"))
        if len(found) != 1:
            raise LabError(f"{source}: must hold one bundle; got {len(found)}", SAVE)
        bundle = read_bundle(found[0].parent)
        check_bundle(bundle, arch=bundle.arch)
        named = {bundle.root / name for name in (MANIFEST, SBOM, *(part.path for part in bundle.parts))}
        if others := sorted(
            str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and path not in named
        ):
            raise LabError(f"{source}: {others[0]}: must be named by the bundle's manifest", REBUILD)
        put_in_place(bundle.root, home.bundles / bundle.version)
    return read_bundle(home.bundles / bundle.version)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nothing of who saved it and when: the same bundle is the same file."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member
