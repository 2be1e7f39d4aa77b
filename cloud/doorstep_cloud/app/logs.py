"""Logs: one JSON object a line on stderr, past-tense facts.

Never a name, a picture, a token or an address; libraries speak only from
warnings on, for their lower levels quote requests.
"""

import logging
import sys

import structlog


def configure_logs() -> None:
    """Send this process's logs to stderr."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format='{"level": "%(levelname)s", "logger": "%(name)s", "event": "%(message)s"}',
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
