# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Disks with small rings: user space in the guest serves them (VDUSE), QEMU's own have 1024 entries.

# vduse_disk NAME RING-SIZE [I/Os a second]
vduse_disk()
{
	local node=$1
	load_vduse
	truncate -s 64M "/tmp/$1.img"
	local options=(--blockdev "driver=file,filename=/tmp/$1.img,node-name=$1")
	if [[ -n ${3:-} ]]; then
		node=$1-slow
		options+=(--object "throttle-group,id=$1-limit,x-iops-total=$3"
			--blockdev "driver=throttle,throttle-group=$1-limit,file=$1,node-name=$node")
	fi
	qemu-storage-daemon "${options[@]}" --pidfile "/tmp/$1.pid" --daemonize \
		--export "type=vduse-blk,id=$1,name=$1,node-name=$node,writable=on,num-queues=1,queue-size=$2,serial=$1"
	wait_for 30 test -e "/dev/vduse/$1" || fail "no VDUSE device $1"
	vdpa dev add name "$1" mgmtdev vduse || fail "vdpa dev add $1"
}

# vduse_remove NAME
vduse_remove()
{
	vdpa dev del "$1"
	kill "$(<"/tmp/$1.pid")"
	wait_for 30 eval "! test -e /dev/vduse/$1" || fail "the VDUSE device $1 does not go"
	rm "/tmp/$1.img"
}
