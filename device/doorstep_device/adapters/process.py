"""This process, as the kernel sees it."""

import ctypes
import resource
from contextlib import suppress
from typing import Final

# prctl(2).
_PR_SET_DUMPABLE: Final = 4


def forbid_core_dumps() -> None:
    """Let no crash write what this process remembers to the card: keys, and video in the clear.

    A limit of 0 keeps the kernel from writing a file, but not from piping to a crash
    handler (core(5)). A process that is not dumpable does neither, and its user's other
    programs cannot read its memory.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(AttributeError):  # another kernel than Linux
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
