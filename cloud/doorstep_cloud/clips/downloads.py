"""Age files on their way out: the envelope, then the payload, never both in memory.

Each takes a place while it lasts. Without that limit a few slow readers would
hold every worker thread and every connection to the store.
"""

import asyncio
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import structlog
from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from doorstep_cloud.clips.rules import Span
from doorstep_cloud.clips.service import SealedObject
from doorstep_cloud.store.errors import NotFoundError
from doorstep_cloud.store.objects import ObjectMissingError, ObjectStore, ObjectStream
from doorstep_shared.errors import TryLaterError
from doorstep_shared.ids import ClipId, HouseholdId

PER_HOUSEHOLD: Final = 3
"""Of the places, so many are one household's at most: a film, its details, a thumbnail."""

PIECE_S: Final = 30.0
"""A reader takes 64 KiB in this time, 18 kbit/s, or loses its place; it may come back with a
range."""

_log = structlog.get_logger(__name__)


class TooManyDownloadsError(TryLaterError):
    """As many downloads are under way as the service allows at a time."""


class LostObjectError(NotFoundError):
    """A row says stored, and the store has nothing of that name."""


class DownloadPlaces:
    """How many may be on their way at once. Safe to use from any thread.

    Attributes:
        count: Places there are.
    """

    def __init__(self, count: int, per_household: int = PER_HOUSEHOLD) -> None:
        self.count: Final = count
        self._per_household = per_household
        self._refused = 0
        self._taken: Counter[HouseholdId] = Counter()
        self._endings: defaultdict[ClipId, set[threading.Event]] = defaultdict(set)
        self._lock = threading.Lock()

    @property
    def running(self) -> int:
        """Return how many are on their way just now."""
        with self._lock:
            return self._taken.total()

    @property
    def refused(self) -> int:
        """Return how many were asked to come back, since the start of the process."""
        with self._lock:
            return self._refused

    @contextmanager
    def taken(self, household: HouseholdId) -> Iterator[None]:
        """Hold a place for ``household`` while the block lasts.

        Raises:
            TooManyDownloadsError: None is free, or the household has its share.
        """
        self._take(household)
        try:
            yield
        finally:
            with self._lock:
                self._taken[household] -= 1
                # What is at zero goes, or every household ever seen would stay.
                self._taken = +self._taken

    @contextmanager
    def watched(self, clip: ClipId) -> Iterator[threading.Event]:
        """Yield what is set when ``clip`` is deleted while the block lasts."""
        ending = threading.Event()
        with self._lock:
            self._endings[clip].add(ending)
        try:
            yield ending
        finally:
            with self._lock:
                self._endings[clip].discard(ending)
                if not self._endings[clip]:
                    del self._endings[clip]

    def end(self, clips: Iterable[ClipId]) -> None:
        """End every download of ``clips``: none sends another piece."""
        with self._lock:
            for ending in (e for clip in clips for e in self._endings.get(clip, ())):
                ending.set()

    def _take(self, household: HouseholdId) -> None:
        with self._lock:
            if self._taken[household] >= self._per_household:
                self._refused += 1
                raise TooManyDownloadsError(
                    f"{self._per_household} clips of this household are on their way already",
                    do="let one of them end, then try again",
                    after_s=3.0,
                )
            if self._taken.total() >= self.count:
                self._refused += 1
                raise TooManyDownloadsError(
                    "as many clips are on their way as this service sends at a time",
                    do="try again in a few seconds",
                    after_s=3.0,
                )
            self._taken[household] += 1


class _TooSlowError(Exception):
    """A reader did not take a piece in time."""


class _DeletedError(Exception):
    """The clip was deleted while it was on its way."""


class Download(StreamingResponse):
    """An age file, or a span of it; everything it holds is given back however it ends.

    Args:
        store: Where the payload is.
        places: One is taken.
        sealed: What is sent.
        clip: Whose object that is.
        is_there: Whether the clip was not deleted, asked once the download would hear of it.
        household: Whose place is taken.
        span: Of the age file; None for all of it.
        headers: Of the answer.

    Raises:
        NotFoundError: The clip was deleted meanwhile, or the store has lost the object.
        TooManyDownloadsError: There is no place.
    """

    def __init__(
        self,
        store: ObjectStore,
        places: DownloadPlaces,
        sealed: SealedObject,
        *,
        clip: ClipId,
        is_there: Callable[[], bool],
        household: HouseholdId,
        span: Span | None,
        headers: dict[str, str],
    ) -> None:
        with ExitStack() as stack:
            stack.enter_context(places.taken(household))
            self._deleted = stack.enter_context(places.watched(clip))
            if not is_there():
                raise NotFoundError("there is no such thing", do="doorstep clip list")
            wanted = span or Span(0, sealed.size_bytes)
            pieces = stack.enter_context(_pieces(store, sealed, wanted))
            headers = {**headers, "Content-Length": str(wanted.size)}
            if span is not None:
                last = span.end - 1
                headers["Content-Range"] = f"bytes {span.start}-{last}/{sealed.size_bytes}"
            super().__init__(
                pieces,
                status_code=200 if span is None else 206,
                media_type="application/octet-stream",
                headers=headers,
            )
            self._held = stack.pop_all()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or as much as the caller takes in time."""

        async def send_in_time(message: Message) -> None:
            if self._deleted.is_set():
                raise _DeletedError
            try:
                async with asyncio.timeout(PIECE_S):
                    await send(message)
            except TimeoutError as error:
                raise _TooSlowError from error

        try:
            await super().__call__(scope, receive, send_in_time)
        except _TooSlowError:
            # Left unfinished, the answer makes the server close the line.
            _log.info("download_given_up")
        except _DeletedError:
            _log.info("download_ended", reason="deleted")
        finally:
            self._held.close()


@contextmanager
def _pieces(store: ObjectStore, sealed: SealedObject, span: Span) -> Iterator[Iterator[bytes]]:
    """Open the span now, so that a store that is away is a proper answer."""
    edge = len(sealed.envelope)
    head = sealed.envelope[span.start : span.end]
    if span.end <= edge:
        yield iter([head])
        return
    with _opened(store, sealed.key, max(0, span.start - edge), span.end - edge) as stream:
        yield _joined(head, iter(stream))


def _opened(store: ObjectStore, key: str, start: int, end: int) -> ObjectStream:
    try:
        return store.open_range(key, start, end)
    except ObjectMissingError as error:
        raise LostObjectError(
            "the object store has lost this, although it had confirmed it",
            safe="What it showed and when is still listed.",
            do="Tell whoever runs this service; docs/power.md says when this happens.",
        ) from error


def _joined(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest
