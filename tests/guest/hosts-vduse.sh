# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The host's part of hosts.sh, where the back end runs in the guest: qemu-storage-daemon by VDUSE.
vduse_monitor()
{
	python3 - "$1" "$2" <<'P'
import json, socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect("/tmp/vduse.qmp")
    lines = sock.makefile()
    lines.readline()
    for command in ({"execute": "qmp_capabilities"}, {"execute": sys.argv[1], "arguments": json.loads(sys.argv[2])}):
        sock.sendall(json.dumps(command).encode() + b"\n")
        while "event" in (answer := json.loads(lines.readline())):
            pass
        if "error" in answer:
            sys.exit(answer["error"]["desc"])
P
}

on_host()
{
	local error name n=0 options=()
	case $1 in
	start)
		load_vduse
		truncate -s 128M /tmp/cell.img
		truncate -s 64M /tmp/bad.img
		error=driver=blkdebug,image=bad-file,node-name=bad
		for name in read write flush; do
			error+=,inject-error.$n.event=none,inject-error.$n.iotype=$name,inject-error.$n.errno=5,inject-error.$n.once=off
			[[ $name == flush ]] || error+=,inject-error.$n.sector=65536
			n=$((n + 1))
		done
		for name in cell bad; do
			options+=(--export "type=vduse-blk,id=$name-export,name=$name,node-name=$name,writable=on,num-queues=2,queue-size=256,serial=$name")
		done
		qemu-storage-daemon --chardev socket,id=qmp,path=/tmp/vduse.qmp,server=on,wait=off --monitor chardev=qmp \
			--blockdev driver=file,filename=/tmp/cell.img,node-name=cell,discard=unmap \
			--blockdev driver=file,filename=/tmp/bad.img,node-name=bad-file --blockdev "$error" \
			"${options[@]}" --pidfile /tmp/vduse.pid --daemonize
		for name in cell bad; do
			vdpa dev add name $name mgmtdev vduse
		done
		;;
	stop)
		vdpa dev del cell
		vdpa dev del bad
		kill "$(</tmp/vduse.pid)"
		wait_for 30 eval '! test -e /dev/vduse/cell'
		;;
	size) echo $(($(stat -c %s /tmp/cell.img) >> 20)) ;;
	resize) vduse_monitor block_resize "{\"node-name\": \"cell\", \"size\": $(($2 << 20))}" ;;
	allocated) echo $(($(stat -c %b /tmp/cell.img) / 2)) ;;
	spoil) echo read write ;;
	pull) vdpa dev del cell ;;
	push) vdpa dev add name cell mgmtdev vduse ;;
	esac
}
on_host start
