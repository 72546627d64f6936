"""Child processes that end with their parent, however it ends."""

import os
import sys
import threading
from collections.abc import Sequence

# Runs between fork and the program, in a fresh interpreter: a preexec_fn would run Python code in a forked copy of
# a process that has gRPC and torch threads, which can deadlock. PR_SET_PDEATHSIG (1) survives exec.
_EXEC_TIED_TO_PARENT = """
import ctypes, os, signal, sys
parent = int(sys.argv[1])
if parent:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def tied_to_parent(command: Sequence[str]) -> list[str]:
    """`command` (an absolute program path and its arguments), to be killed with SIGTERM when this process ends.

    Linux only, and only when called from the main thread: the kernel ties a child to the thread that made it.
    Elsewhere the command runs untied.
    """
    on_main_thread = threading.current_thread() is threading.main_thread()
    parent = os.getpid() if sys.platform == "linux" and on_main_thread else 0
    return [sys.executable, "-I", "-S", "-c", _EXEC_TIED_TO_PARENT, str(parent), *command]
