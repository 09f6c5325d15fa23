# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Buffers in many small pieces and in very large ones: split to the device's limits, order kept.
d=$(disk data)
python3 "$VSR_SRC/tests/guest/scattered.py" "/dev/$d"
d=$(disk tiny)
python3 "$VSR_SRC/tests/guest/scattered.py" "/dev/$d"
