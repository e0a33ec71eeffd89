"""What a balancer says about the floating IP: the script that runs in it, and what its lines mean. Pure.

The script says a line when it starts, at each change, and one each second in between, so that silence can be told from
peace. It waits on netlink (``ip monitor``), and costs the machine one shell that sleeps.
"""

from __future__ import annotations

from dataclasses import dataclass

BEAT_SECONDS = 1.0
SILENT_SECONDS = 2.5
"""After two missed lines and a bit, a machine counts as silent."""

GUEST_SCRIPT = r"""
LC_ALL=C
address=$1
renice -n -20 $$ >/dev/null 2>&1 # what it says has to be on time
now_held() { if [ -n "$(ip -4 -oneline address show to "$address/32")" ]; then held=true; else held=false; fi; }
say() { printf '%s %s %s\n' "$EPOCHREALTIME" "$1" "$held" || exit 0; }
exec {events}< <(exec ip -4 -oneline monitor address)
trap 'kill %% "$!" 2>/dev/null' EXIT
sleep 0.05
now_held
say start
beats=0
torn=
while true; do
  line=
  if read -r -t 1 -u "$events" line; then
    case $torn$line in
      torn*) now_held; say change; torn= ;;
      Deleted*" $address/"*) held=false; say change ;;
      *" $address/"*) held=true; say change ;;
      *) say beat ;;
    esac
  elif [ $? -gt 128 ]; then
    beats=$((beats + 1))
    if [ "$beats" = 1 ]; then now_held; fi # what happened before the monitor listened
    if [ -n "$line" ]; then torn=torn; fi # the rest of that line comes next, and says nothing by itself
    say beat
  else
    exit 1
  fi
done
"""
"""Prints ``WALL start|change|beat true|false``. ``read`` gives more than 128 when its time is up (bash(1))."""


@dataclass(frozen=True, slots=True)
class Word:
    """One line of a balancer: whether it holds the address, and when it said so by its own wall clock."""

    kind: str
    held: bool
    wall_guest: float


def parse_word(line: str) -> Word | None:
    """None for a line that is not one of the script's."""
    words = line.split()
    if len(words) != 3 or words[1] not in ("start", "change", "beat") or words[2] not in ("true", "false"):
        return None
    try:
        return Word(words[1], words[2] == "true", float(words[0]))
    except ValueError:
        return None
