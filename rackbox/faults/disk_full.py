"""Disk full: where a balancer's programs keep their state and their logs, nothing more can be written.

What is there can still be read, as on a disk that has run full. A small file system in memory, full to the last byte,
is laid over each of those directories with a copy of what was in it; so this computer's disk is not filled, and taking
it away is sure to mend it. Directories that are bigger than that are laid over without a copy (old logs).
"""

from __future__ import annotations

from rackbox.faults.base import Evidence, Fault, Site

DIRECTORIES = (
    "/var/lib/pacemaker",
    "/var/lib/corosync",
    "/var/lib/haproxy",
    "/var/lib/rackbox",
    "/var/log",
    "/var/tmp",  # noqa: S108 - a directory that is filled, not used
)
MAX_KIB = 4096
MARK = "rackbox-full"

_PREPARE = f"""\
for directory in {" ".join(DIRECTORIES)}; do
    [[ -d $directory ]] || continue
    full=/run/{MARK}$directory
    mkdir --parents "$full"
    mount -t tmpfs -o size={MAX_KIB + 1024}k,mode=$(stat --format=%a "$directory") {MARK} "$full"
    chown --reference="$directory" "$full"
    if (($(du --summarize --one-file-system --block-size=1K "$directory" | cut --fields=1) < {MAX_KIB})); then
        tar --create --one-file-system --directory="$directory" . 2>/dev/null |
            tar --extract --preserve-permissions --directory="$full" || true
    fi
    cat /dev/zero >"$full/.{MARK}" 2>/dev/null || true
done
"""

_FILL = f"""\
for directory in {" ".join(DIRECTORIES)}; do
    [[ -d $directory ]] || continue
    mount --bind /run/{MARK}$directory "$directory"
done
"""

_EMPTY = f"""\
while target=$(findmnt --noheadings --list --first-only --output TARGET --source {MARK}); do
    umount --lazy "$target"
done
rm --recursive --force --one-file-system /run/{MARK}
"""

_LOOK = f"""\
for directory in {" ".join(DIRECTORIES)}; do
    [[ -d $directory ]] || continue
    if (echo full >"$directory/.rackbox-try") 2>/dev/null && [[ -s $directory/.rackbox-try ]]; then
        echo "$directory"
    fi
    rm --force "$directory/.rackbox-try"
done
"""


class DiskFull(Fault):
    name = "disk-full"
    roles = ("lb",)
    summary = f"no room left in {', '.join(DIRECTORIES)}"

    def setup(self, site: Site) -> None:
        site.each(lambda machine: machine.run(f"# setup {self.name}\n{_EMPTY}{_PREPARE}", timeout=20.0))

    def inject(self, site: Site) -> None:
        self.break_inside(site, _FILL)

    def heal(self, site: Site) -> None:
        self.mend_inside(site, _EMPTY)

    def evidence(self, site: Site) -> Evidence:
        """Per machine the directories in which something can be written."""
        return {name: " ".join(text.split()) for name, text in self.look_inside(site, _LOOK).items()}

    def bitten(self, before: Evidence, after: Evidence) -> bool:
        return bool(before) and all(bool(seen) and after.get(name) == "" for name, seen in before.items())
