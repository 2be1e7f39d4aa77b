"""How the agent tells what happened: one fact a line.

Past-tense facts with ids and wall time, so that one ring can be followed from
finger to listener by its ``event_id``. Never a name, an image, a token or an
address. JSON for machines; words on a terminal.
"""

import sys
import time
from collections.abc import MutableMapping
from typing import Any

import structlog

from doorstep_shared.terminal import plain


def configure_facts(*, as_json: bool) -> None:
    """Tell facts on standard output from now on, as JSON or for people."""
    renderers: list[structlog.typing.Processor] = (
        [structlog.processors.JSONRenderer()]
        if as_json
        else [_disarm, structlog.dev.ConsoleRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _stamp,
            structlog.processors.format_exc_info,
            *renderers,
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
    )


def _disarm(
    _logger: object, _method: str, fact: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Leave nothing in it that could command a terminal: a broker chose some of the words.

    What is no text is shown by its `repr`, which escapes.
    """
    for name, value in fact.items():
        if isinstance(value, str):
            fact[name] = plain(value)
    return fact


def _stamp(
    _logger: object, _method: str, fact: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Add when: Unix milliseconds by this machine's clock, whatever pace the camera has."""
    fact["at_ms"] = time.time_ns() // 1_000_000
    return fact
