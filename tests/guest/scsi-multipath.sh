# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# dm-multipath over two hosts, to a unit with reservations and to a disk of QEMU's: every ten seconds one way is killed, in each
# manner in turn, under verified I/O. No error, no data lost, I/O goes on within five seconds, all registrations are kept.
# limit: 2000
expect_log 'I/O error, dev (sd|dm)|Buffer I/O error|device-mapper: multipath|rejecting I/O|reservation conflict|Synchronize Cache'
expect_log 'a command is not answered in time|device reset|target reset|scsi_eh|Power-on or device reset'
# shellcheck source=tests/guest/multipath-lib.sh
. "$VSR_SRC/tests/guest/multipath-lib.sh"
# And target: the connection to LIO is cut, for which QEMU lets the whole guest wait if it resets the unit meanwhile.
kinds=(delete offline unplug cut silent)
[[ -z ${VSR_MANNERS:-} ]] || read -ra kinds <<<"$VSR_MANNERS"
# Seconds between two kills, for how long the way is dead, and the longest that I/O may take.
every=10 dead=6 longest=5

# What the admin guide tells administrators to set; not for LIO's unit, see there.
parameters=/sys/module/virtio_scsi/parameters
mkdir -p /run/udev/rules.d
cat >/run/udev/rules.d/90-paths.rules <<'RULE'
ACTION=="add|change", SUBSYSTEM=="scsi", ENV{DEVTYPE}=="scsi_device", ATTR{vendor}=="QEMU*", ATTR{timeout}="1", ATTR{eh_timeout}="1"
RULE
if [[ $MODE != c ]]; then
	echo 1 >$parameters/virtscsi_timeouts
	echo 1 >$parameters/virtscsi_tmf_timeout
fi
# A disk that is just found may be between the old rules and the new ones.
all_found()
{
	[[ $(path_disks file | wc -l) == 2 && $(path_disks shared | wc -l) == 2 ]]
}
wait_for 60 all_found || fail "not all disks are there: $(lsscsi)"
settled
udevadm control --reload
udevadm trigger --settle --action=change --subsystem-match=scsi

start_multipath file shared
for d in $(path_disks file); do
	same "the timeout of $d" "$(<"/sys/block/$d/device/timeout")" 1
done
persist --out --register --param-sark=0xabc
persist --out --reserve --param-rk=0xabc --prout-type=5
keys "in the beginning" "0xabc 0xabc"

# disks WAY: those of one of the two hosts. The targets of the first are 1 and 3, of the second 2 and 4.
disks()
{
	local dir target
	for dir in /sys/block/sd*; do
		target=$(basename "$(readlink -f "$dir/device")" | cut -d: -f3)
		((target % 2 == $1)) || echo "${dir##*/}"
	done
}

each_disk()
{
	local d
	for d in $(disks "$1"); do
		echo "$3" >"/sys/block/$d/device/$2"
	done
}

# kill_path KIND WAY
kill_path()
{
	local hosts
	case $1 in
	delete)
		read -ra hosts < <(disks "$2" | xargs)
		host=$(scsi_host "${hosts[0]}")
		each_disk "$2" delete 1
		;;
	offline) each_disk "$2" state offline ;;
	unplug) host path pull "$2" ;;
	cut) host path cut "$2" ;;
	target) host path cut-target "$2" ;;
	silent) host path silence "$2" ;;
	*) fail "no such kind: $1" ;;
	esac
}

mend_path()
{
	case $1 in
	delete) echo - - - >"$host/scan" ;;
	offline) each_disk "$2" state running ;;
	unplug) host path push "$2" ;;
	cut) host path mend "$2" ;;
	silent) host path speak "$2" ;;
	esac
}

# The writers' clock
now()
{
	cut -d' ' -f1 /proc/uptime
}

mkfifo /tmp/until
python3 "$VSR_SRC/tests/guest/failover.py" /tmp/slow "file=/dev/${maps[0]}" "shared=/dev/${maps[1]}" </tmp/until >/tmp/writers.log 2>&1 &
writers=$!
exec 7>/tmp/until
# fio has more in flight, in larger pieces.
for m in "${maps[@]}"; do
	while [[ ! -e /tmp/enough ]]; do
		fio --name="$m" --filename="/dev/$m" --rw=randwrite --verify=crc32c --verify_fatal=1 --do_verify=1 --randrepeat=0 --direct=1 \
			--ioengine=io_uring --iodepth=8 --bsrange=4k-64k --offset=16m --size=8m --rate_iops=30 --allow_file_create=0 \
			--output="/tmp/fio-$m.log" || exit
	done 7>&- &
	fios+=($!)
done

alive()
{
	kill -0 "$writers" 2>/dev/null || fail "$1: $(cat /tmp/writers.log)"
	for m in "${!maps[@]}"; do
		kill -0 "${fios[m]}" 2>/dev/null || fail "$1: fio: $(cat "/tmp/fio-${maps[m]}.log")"
	done
}

# What it takes when nothing is wrong.
echo "none - $(now)" >/tmp/kills
sleep $every
for ((n = 0; n < VSR_KILLS; n++)); do
	kind=${kinds[n % ${#kinds[@]}]} way=$((n / ${#kinds[@]} % 2))
	begin=$SECONDS
	at=$(now)
	echo "$kind $way $at" >>/tmp/kills
	kill_path "$kind" $way
	sleep $dead
	mend_path "$kind" $way
	wait_for 60 both_paths || fail "$n: $kind of $way: not both paths: $(dmsetup status) $(tail /tmp/multipathd.log)"
	alive "$n: $kind of $way"
	keys "after $n: $kind of $way" "0xabc 0xabc"
	persist --in --read-reservation
	grep -q 0xabc /tmp/persist.log || fail "$n: $kind of $way: no reservation: $(cat /tmp/persist.log)"
	echo "$n: $kind of $way:$(awk -v at="$at" '$2 + $3 > at && $3 > most[$1] { most[$1] = $3 }
		END { for (name in most) printf " %s %s s", name, most[name] }' /tmp/slow)"
	((SECONDS - begin >= every)) || sleep $((every - SECONDS + begin))
done
echo "none - $(now)" >>/tmp/kills
touch /tmp/enough
exec 7>&-
for pid in $writers "${fios[@]}"; do
	wait_for 400 not_running "$pid" || fail "the load does not end: $(cat /tmp/writers.log)"
	wait "$pid" || fail "the load: $(cat /tmp/writers.log /tmp/fio-*.log)"
done
cat /tmp/writers.log
python3 "$VSR_SRC/tests/guest/failover-times.py" /tmp/kills /tmp/slow $longest >/tmp/times || late=1
while IFS= read -r line; do
	host path tell "$line"
done </tmp/times
((!${late:-0})) || fail "I/O took longer than $longest s: $(head -n 1 /tmp/times)"
persist --out --release --param-rk=0xabc --prout-type=5
persist --out --register --param-rk=0xabc --param-sark=0
keys "in the end" ""
stop_multipath
rm /run/udev/rules.d/90-paths.rules
if [[ $MODE != c ]]; then
	echo 0 >$parameters/virtscsi_timeouts
	echo 30 >$parameters/virtscsi_tmf_timeout
fi
