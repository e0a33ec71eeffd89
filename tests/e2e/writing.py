"""Writers. Bash for machines: writes files with checksums until it is told to stop, and looks whether all can be read
back. And here: a client that writes until the whole lab has lost its power.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.labs import LabUnderTest

WRITER = """\
mkdir -p {where}
cat >/run/writer <<'END'
n=0
cd "$1"
while [ ! -e stop ]; do
    n=$((n + 1))
    head -c 65536 /dev/urandom >$n.part || echo $n >>failed
    sha256sum <$n.part >$n.sum
    mv $n.part $n.data
    sleep 0.2
done
END
setsid bash /run/writer {where} >/dev/null 2>&1 </dev/null &
"""
CHECK = """\
touch {where}/stop; sleep 2
bad=0 count=0
for sum in {where}/*.sum; do
    count=$((count + 1)); [ -e "${{sum%.sum}}.data" ] || continue
    [ "$(sha256sum <"${{sum%.sum}}.data")" = "$(cat "$sum")" ] || bad=$((bad + 1))
done
echo "$count $bad $(cat {where}/failed 2>/dev/null | wc -l)"
rm -rf {where}
"""


def written_until_power_cut(lab: LabUnderTest, write: Callable[[int], bool], *, seconds: float) -> list[int]:
    """Cut the power of all machines while ``write(number)`` is called again and again, in a thread of its own.

    It is cut after twenty writes, or after so many seconds. Returns the numbers of those that were acknowledged.
    """
    acknowledged: list[int] = []
    cut = threading.Event()

    def go_on() -> None:
        for number in itertools.count():
            if cut.is_set():
                return
            if write(number):
                acknowledged.append(number)

    with ThreadPoolExecutor() as pool:
        writer = pool.submit(go_on)
        deadline = time.monotonic() + seconds
        try:
            while len(acknowledged) < 20 and time.monotonic() < deadline and not writer.done():
                time.sleep(0.1)
            lab.power_off(lab.names())
        finally:
            cut.set()
        writer.result()
    return acknowledged
