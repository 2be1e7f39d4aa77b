"""How much ingest took and dropped, for health pages and for whoever looks into a flood."""

import threading
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum


class Count(StrEnum):
    """Everything that is counted. Nothing here names a doorbell."""

    EVENT_STORED = "event_stored"
    EVENT_REPEATED = "event_repeated"
    EVENT_CONFLICT = "event_conflict"
    CLIP_ANNOUNCED = "clip_announced"
    CLIP_REFUSED = "clip_refused"
    CLIP_NOT_YET = "clip_not_yet"
    HELLO_TOO_SOON = "hello_too_soon"
    COMMAND_ANSWERED = "command_answered"
    COMMAND_ANSWER_REPEATED = "command_answer_repeated"
    OBJECT_STORED = "object_stored"
    OBJECT_QUARANTINED = "object_quarantined"
    STORE_FAILED = "store_failed"
    DROPPED_NO_TOPIC = "dropped_no_topic"
    DROPPED_TOO_LONG = "dropped_too_long"
    DROPPED_TOO_MANY = "dropped_too_many"
    DROPPED_MALFORMED = "dropped_malformed"
    DROPPED_UNKNOWN_SENDER = "dropped_unknown_sender"
    DROPPED_OVER_QUOTA = "dropped_over_quota"
    DROPPED_FOREIGN = "dropped_foreign"
    DROPPED_UNKNOWN_COMMAND = "dropped_unknown_command"
    DROPPED_DATABASE_AWAY = "dropped_database_away"
    CRASHED = "crashed"


class IngestCounters:
    """Counts since the start of the process, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[Count] = Counter()

    def add(self, what: Count, times: int = 1) -> None:
        """Count ``what`` once more."""
        with self._lock:
            self._counts[what] += times

    def __getitem__(self, what: Count) -> int:
        """Return how often ``what`` was counted."""
        with self._lock:
            return self._counts[what]

    def snapshot(self) -> Mapping[Count, int]:
        """Return everything that was counted at least once."""
        with self._lock:
            return dict(self._counts)
