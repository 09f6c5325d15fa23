# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Memory pressure: the guest's memory twice over, on swap on this disk; every page comes back as it was.
# limit: 900
d=$(disk swap)
# The swap core allocates its own tables as pages go out, and warns when none is free; a larger reserve makes kswapd start earlier.
echo 16384 >/proc/sys/vm/min_free_kbytes
mkswap -q "/dev/$d" >/dev/null
swapon "/dev/$d"
out0=$(awk '/^pswpout/ { print $2 }' /proc/vmstat)
in0=$(awk '/^pswpin/ { print $2 }' /proc/vmstat)
python3 "$VSR_SRC/tests/guest/swap.py" "$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)"
out=$(($(awk '/^pswpout/ { print $2 }' /proc/vmstat) - out0))
in=$(($(awk '/^pswpin/ { print $2 }' /proc/vmstat) - in0))
echo "$out pages out, $in pages in"
((out > 10000 && in > 5000)) || fail "too little was swapped to prove anything: $out pages out, $in in"
swapoff "/dev/$d"
