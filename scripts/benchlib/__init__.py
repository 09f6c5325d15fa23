# SPDX-License-Identifier: GPL-2.0
"""Compare the C driver, request mode and bio mode; see Documentation/performance.md."""
