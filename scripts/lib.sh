# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154
# What the scripts share: messages, long steps with progress, the cache folder, locks. Sourced after config.sh.

say() {
	printf '%s\n' "$*" >&2
}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# The file that marks a folder as our cache, so that distclean never removes anything else.
cache_marker=.virtio-storage-rs

make_cache() {
	[ -e "$cache/$cache_marker" ] && return
	if [ -d "$cache" ] && [ -n "$(ls -A "$cache")" ]; then
		die "$cache is not empty and not a cache of this project; set VSR_CACHE to another folder"
	fi
	mkdir -p "$cache/log"
	: >"$cache/$cache_marker"
}

# as_root COMMAND...: run it as root, or as the root of a user namespace that holds this user's subordinate ids.
if [ "$(id -u)" = 0 ]; then
	userns=()
else
	userns=(unshare --user --map-root-user --map-auto)
fi

as_root() {
	"${userns[@]}" "$@"
}

need_namespaces() {
	if [ "$(id -u)" = 0 ]; then
		unshare --mount --pid --fork true 2>/dev/null ||
			die "root may not make mount namespaces here (an unprivileged container?); use a machine or a privileged container"
		return
	fi
	command -v newuidmap >/dev/null || die "newuidmap is missing; install the package uidmap, or run as root"
	grep -q "^\($(id -un)\|$(id -u)\):" /etc/subuid 2>/dev/null ||
		die "user $(id -un) has no subordinate ids; add them (usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)), or run as root"
	as_root true 2>/dev/null ||
		die "this system does not let ordinary users make user namespaces (see sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces and kernel.apparmor_restrict_unprivileged_userns); allow them, or run as root"
}

# need_space FOLDER GIGABYTES
need_space() {
	local free
	free=$(df --output=avail -k "$1" | tail -n 1)
	[ "$free" -ge $(($2 * 1024 * 1024)) ] ||
		die "$1 has $((free / 1024)) MiB free and $2 GiB are needed; free some, or set VSR_CACHE (and TMPDIR) to a larger disk"
}

# with_lock NAME: hold this lock until the script ends; another run that makes the same thing is waited for.
with_lock() {
	exec 9>"$cache/$1.lock"
	flock --nonblock 9 && return
	say "another run prepares the $1 in $cache; waiting for it"
	flock --timeout 3600 9 || die "the other run did not finish within an hour; end it, then try again"
}

# stop_group PID: end a process group, gently if it hurries.
stop_group() {
	kill -TERM -- "-$1" 2>/dev/null || return 0
	local i
	for ((i = 0; i < 40; i++)); do
		kill -0 -- "-$1" 2>/dev/null || return 0
		sleep 0.5
	done
	kill -KILL -- "-$1" 2>/dev/null || true
}

# say_why LOG: a sentence about what users can mend themselves.
say_why() {
	if grep -qaE "No space left on device|enough free space" "$1"; then
		say "A disk is full: free some space on that of $cache, or set VSR_CACHE to a folder on a larger one (and TMPDIR, for what is temporary). Then run it again."
	elif grep -qaE 'Temporary failure resolving|Could not (resolve|connect)|Unable to connect|Network is unreachable|Connection (timed out|refused)' "$1"; then
		say "The package archive was not reached: see to the network (or to http_proxy, if there is a proxy), or name another archive by VSR_MIRROR. Then run it again."
	fi
}

# scrap FOLDER...: what an earlier run left half-made.
scrap() {
	as_root rm -rf --one-file-system "$@"
}

# step TITLE SECONDS LOG COMMAND...: run a long command quietly, say that it runs and how long it usually takes;
# show the end of its log if it fails. The command gets a process group of its own, so that all of it can be stopped;
# it must be a program, not a shell function.
step() {
	local title=$1 usual=$2 log=$3 begin=$SECONDS status=0 pid next=30
	shift 3
	mkdir -p "$(dirname "$log")"
	say "$title (about $usual s)"
	setsid "$@" >"$log" 2>&1 </dev/null &
	pid=$!
	# shellcheck disable=SC2064 # this process, not a later one
	trap "stop_group $pid; say 'stopped; what was half-made is not used. Run it again to begin this step anew.'; exit 130" INT TERM HUP
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.5
		if [ -t 2 ]; then
			printf '\r  %d s ' $((SECONDS - begin)) >&2
		elif [ $((SECONDS - begin)) -ge $next ]; then
			say "  $title: $next s of about $usual s"
			next=$((next + 30))
		fi
	done
	wait "$pid" || status=$?
	trap - INT TERM HUP
	[ ! -t 2 ] || printf '\r' >&2
	if [ $status != 0 ]; then
		tail -n 25 "$log" >&2
		say "$title: failed (status $status), the whole log is $log"
		say_why "$log"
		return $status
	fi
	say "  done in $((SECONDS - begin)) s"
}
