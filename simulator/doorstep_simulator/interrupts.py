"""Ctrl-C, SIGTERM and a closed terminal: each ends a run in order, once."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Turn the first of the signals into KeyboardInterrupt and pass over later ones.

    A second Ctrl-C of an impatient hand would otherwise break off the stopping of what
    was started. For the main thread.
    """
    is_ending = False

    def end() -> None:
        nonlocal is_ending
        if not is_ending:
            is_ending = True
            raise KeyboardInterrupt

    with calling(end):
        yield


@contextmanager
def calling(end: Callable[[], object]) -> Iterator[None]:
    """Call ``end`` at each of the signals while the block runs; for the main thread."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        end()

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
