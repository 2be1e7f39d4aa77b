"""This process, as the kernel sees it."""

import ctypes
import resource
from contextlib import suppress
from typing import Final

# prctl(2).
_PR_SET_DUMPABLE: Final = 4


def forbid_core_files() -> None:
    """Let no crash write what this process remembers to the disk: keys, and video in the clear.

    The kernel still pipes to a crash handler (core(5)); the known ones heed the limit.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def forbid_core_dumps() -> None:
    """Let no crash write anywhere what this process remembers.

    A process that is not dumpable is not piped to a crash handler either, and its user's
    other programs cannot read its memory, nor the rest of what /proc tells of it.
    """
    forbid_core_files()
    with suppress(AttributeError):  # another kernel than Linux
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
