#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# One case: load the driver in $MODE, prove that it is the wanted one, run the scenario, unload.
# A scenario that has the line "# driver: manual" loads and unloads by itself.
set -eu
# shellcheck source=tests/guest/lib.sh
. "$VSR_SRC/tests/guest/lib.sh"
# What ends it without a word of its own: a command that says nothing; or $(<FILE) of a file that is gone, which ends the
# shell, even where a failure is asked about.
trap '(($? == 0 || BASH_SUBSHELL || ${told:-0})) || echo "ended by: $BASH_COMMAND"' EXIT

manual=$(grep -c '^# driver: manual' "$1" || true)
# shellcheck disable=SC2119 # no further parameters
((manual)) || load
# shellcheck disable=SC1090 # the scenario
. "$1"
if ((!manual)); then
	unload
fi
# Without this a script that ended too early would pass.
touch /tmp/case.finished
