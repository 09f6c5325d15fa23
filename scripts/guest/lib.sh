# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Functions for scripts that run in a guest.

# host CMD ARGS... asks the host to do CMD and waits for it; prints the answer.
# A CMD that begins with ! is told, not asked: nobody waits for an answer.
host()
{
	local reply
	exec 8>/tmp/.host.lock
	flock 8
	exec 9<>"$VSR_PORT" || return
	printf '%s\n' "$*" >&9
	if [[ $1 != '!'* ]]; then
		IFS= read -r -u 9 reply
	else
		reply=ok
	fi
	exec 9>&- 8>&-
	[[ -z ${reply#ok} ]] || printf '%s\n' "${reply#* }"
	[[ $reply == ok* ]]
}

# The host takes kernel log lines that match this extended regular expression for expected.
expect_log()
{
	host expect "$*"
}

# load_driver [PARAM=VALUE...] loads $VSR_MODULE: ours, or the stock one if DRIVER=c.
load_driver()
{
	# What insmod does not load by itself, and the drivers of the devices behind the host.
	[[ $VSR_MODULE != *scsi* ]] || modprobe -a scsi_mod sd_mod sr_mod sg
	if [[ $DRIVER == c ]]; then
		modprobe "$VSR_MODULE" "$@"
	else
		insmod "$VSR_KO" "$@"
	fi
}

unload_driver()
{
	rmmod "$VSR_MODULE"
}

# wait_for SECONDS COMMAND... until the command succeeds.
wait_for()
{
	local end=$((SECONDS + $1 * VSR_SLOWNESS))
	shift
	until "$@" 2>/dev/null; do
		((SECONDS < end)) || return
		sleep 0.1
	done
}

# wait_disk vda [SECONDS]
wait_disk()
{
	wait_for "${2:-30}" test -b "/dev/$1" || {
		echo "no disk /dev/$1 after ${2:-30} s" >&2
		return 1
	}
}
