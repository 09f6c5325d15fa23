#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Run in a guest: every case of $VSR_CASES (MODE:SCENARIO ...) under a time limit, one KTAP line each.
# shellcheck source=tests/guest/lib.sh
. "$VSR_SRC/tests/guest/lib.sh"

run_case()
{
	local mode=$1 scenario=$2 name=$1:$2 begin=$EPOCHREALTIME log=/tmp/case.log pid status limit up left
	local file=$VSR_SRC/tests/guest/$scenario.sh
	limit=$(sed -n 's/^# limit: *\([0-9]*\).*/\1/p' "$file")
	limit=${limit:-300}
	# The host ends the guest at its deadline, and nobody would learn who waited for what.
	read -r up _ </proc/uptime
	left=$(((VSR_DEADLINE - ${up%.*} - 60) / VSR_SLOWNESS))
	((limit < left)) || limit=$left
	echo "vsr-case $name" >/dev/kmsg
	rm -f /tmp/case.finished
	MODE=$mode SCENARIO=$scenario bash "$VSR_SRC/tests/guest/case.sh" "$file" >$log 2>&1 &
	pid=$!
	if wait_for "$limit" not_running $pid; then
		wait $pid
		status=$?
		if [[ $status == 0 && ! -e /tmp/case.finished ]]; then
			echo "ended early, without an error" >>$log
			status=early
		fi
	else
		status=timeout
	fi
	sed 's/^/# /' $log
	if [[ $status == timeout ]]; then
		blocked | sed 's/^/# /'
	elif [[ $status != 0 && $status != 4 ]]; then
		# For the log: the state of this guest is not to be trusted, the host boots afresh for the rest.
		echo w >/proc/sysrq-trigger
	fi
	case $status in
	0) echo -n "ok $name" ;;
	4) echo -n "ok $name # SKIP $(tail -n 1 $log)" ;;
	timeout) echo -n "not ok $name # not finished after $((limit * VSR_SLOWNESS)) s, its last line: $(tail -n 1 $log | grep . || echo none)" ;;
	*) echo -n "not ok $name # $(tail -n 1 $log)" ;;
	esac
	echo " # time=$(seconds_since "$begin")"
	echo "vsr-case -" >/dev/kmsg
	[[ $status == 0 || $status == 4 ]]
}

# Who waits, and where: all programs, and what the kernel knows of those that cannot be interrupted.
blocked()
{
	echo "blocked tasks:"
	# All but the kernel's own, of which the second is the parent.
	ps --deselect -p 2 --ppid 2 -L -o tid,ppid,stat,psr,wchan:24,args | tail -n 25 | cut -c1-120
	echo vsr-blocked >/dev/kmsg
	echo w >/proc/sysrq-trigger
	sleep 1
	dmesg | sed '1,/vsr-blocked/d' | cut -c1-120
}

seconds_since()
{
	local now=$EPOCHREALTIME
	awk "BEGIN { printf \"%.1f\", $now - $1 }"
}

# lockdep reports once, and looks at nothing after that.
lockdep_is_off()
{
	grep -qs '^ *debug_locks: *0$' /proc/lockdep_stats
}

# KCSAN waits to be told, and counts.
kcsan=/sys/kernel/debug/kcsan
if grep -q ' kcsan_' /proc/kallsyms; then
	mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
	# One access in so many is watched, more of them than by default, and for longer: an emulated CPU is slow, and may not run at
	# the moment.
	echo 1000 >/sys/module/kcsan/parameters/skip_watch
	echo 500 >/sys/module/kcsan/parameters/udelay_task
	echo on >$kcsan
	if ! grep -q '^enabled: 1' $kcsan; then
		echo "not ok ${VSR_CASES%% *} # KCSAN is not on: $(xargs <$kcsan)"
		exit 0
	fi
	trap 'echo "# kcsan: $(xargs <$kcsan)"' EXIT
fi

# What a distribution's udev would load for the machine.
# shellcheck disable=SC2086 # several words
[[ -z ${VSR_MODPROBE:-} ]] || modprobe -a $VSR_MODPROBE

echo "KTAP version 1"
for case in $VSR_CASES; do
	run_case "${case%%:*}" "${case#*:}" || exit 0
	if lockdep_is_off; then
		echo "# lockdep is off: a new boot for the rest"
		exit 0
	fi
done
