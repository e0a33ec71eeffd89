"""Bash for machines: writes files with checksums until it is told to stop, and looks whether all can be read back."""

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
