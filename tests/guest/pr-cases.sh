# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The rules of persistent reservations, one after the other, on a unit that two hosts of this guest are logged in to as two
# initiators: by the block layer's ioctls, and by sg_persist. See pr-cases.py.
# limit: 300
expect_log 'reservation conflict|I/O error, dev sd|Buffer I/O error|PR command failed'
nodes=()
for dir in /sys/block/sd*; do
	[[ $(serial "$dir") != shared ]] || nodes+=("${dir##*/}")
done
same "how often the unit is there" ${#nodes[@]} 2
[[ $(scsi_host "${nodes[0]}") != "$(scsi_host "${nodes[1]}")" ]] || fail "both are behind one host"
python3 "$VSR_SRC/tests/guest/pr-cases.py" "${nodes[@]}" >/tmp/pr-cases.log 2>&1 || {
	cat /tmp/pr-cases.log
	fail "$(tail -n 1 /tmp/pr-cases.log)"
}
cat /tmp/pr-cases.log
