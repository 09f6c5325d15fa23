# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# REQ_NOWAIT: with all commands of a slow disk in flight, a non-blocking read says EAGAIN and does not wait.
# driver: manual
load queue_depth=4
d=$(disk slow)
# A scheduler would take requests beyond that depth.
[[ $MODE == bio ]] || echo none >"/sys/block/$d/queue/scheduler"
python3 "$VSR_SRC/tests/guest/nowait.py" "/dev/$d" || fail "see above"
unload
