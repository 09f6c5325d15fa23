# SPDX-License-Identifier: GPL-2.0
"""Boot the stock kernel in QEMU, with the sysroot as its root, and run a script in it.

    from guest import Guest

    result = Guest("hello", script="uname -r; host qmp query-status").run()
    assert result.ok, result.why
"""

from .machine import Guest, Result
from .modules import Driver, module_tree
from .qmp import Qmp, QmpError

__all__ = ["Driver", "Guest", "Qmp", "QmpError", "Result", "module_tree"]
