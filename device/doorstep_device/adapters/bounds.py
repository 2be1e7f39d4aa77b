"""What a live camera may cost the process that answers the button."""

import ctypes
from typing import Final

import av.logging

# 2560 x 1440, upright as well.
MOST_PIXELS: Final = 2560 * 1440
# What is kept of a stream until it is judged; raw pictures of a webcam are the largest.
MOST_FIRST_BYTES: Final = 32 * 1024 * 1024
# One plane of the largest picture that a file may have, or one coded picture.
_MOST_BLOCK_BYTES: Final = 32 * 1024 * 1024


def bound_the_library() -> None:
    """Let the library get no block of memory above 32 MiB, anywhere in this process.

    It gathers a picture's parts in one block for as long as none says that it is the last.
    PyAV does not show the function; any of its modules brings the library along.
    """
    ctypes.CDLL(av.logging.__file__).av_max_alloc(ctypes.c_size_t(_MOST_BLOCK_BYTES))
