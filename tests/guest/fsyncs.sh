# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Several who write and fsync at the same time: one flush serves several of them, and none returns before a flush that was
# sent after its write.
# limit: 300
d=$(disk flush)
host flushlog mark flush
flushes=$(host flushes flush)
python3 "$VSR_SRC/tests/guest/fsyncs.py" "/dev/$d" 8 300 || fail "an fsync of one of eight threads failed"
flushes=$(($(host flushes flush) - flushes))
echo "2400 fsyncs of 8 threads: $flushes flush commands"
same "writes that followed another one of their thread without a flush between" "$(host unflushed flush)" 0
((flushes < 2400)) || fail "no flush served two who waited"
# One who is alone has each of his own, and at once.
flushes=$(host flushes flush)
python3 "$VSR_SRC/tests/guest/fsyncs.py" "/dev/$d" 1 50 || fail "an fsync of one thread failed"
same "flush commands of one thread's 50 fsyncs" $(($(host flushes flush) - flushes)) 50
# All who wait for a flush that fails hear of it.
d=$(disk bad-flush)
expect_log 'I/O error, dev vd|Buffer I/O error'
# QEMU passes a flush on only after a write.
dd if=/dev/zero of="/dev/$d" bs=4k count=1 oflag=direct conv=notrunc status=none
python3 - "/dev/$d" <<'P' || fail "not all who waited for a flush that failed were told"
import os, sys, threading
results = []
def work():
    fd = os.open(sys.argv[1], os.O_RDWR)
    for _ in range(20):
        try:
            os.fsync(fd)
            results.append("good")
        except OSError:
            results.append("bad")
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if results != ["bad"] * 160:
    sys.exit(f"of 160 flushes that failed, {results.count('bad')} were told")
P
