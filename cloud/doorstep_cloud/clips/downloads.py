"""Age files on their way out: the envelope, then the payload, never both in memory.

Each takes a place while it lasts. Without that limit a few slow readers would
hold every worker thread and every connection to the store.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from doorstep_cloud.clips.rules import Span
from doorstep_cloud.clips.service import SealedObject
from doorstep_cloud.store.objects import ObjectStore
from doorstep_shared.errors import TryLaterError


class TooManyDownloadsError(TryLaterError):
    """As many downloads are under way as the service allows at a time."""


class DownloadPlaces:
    """How many may be on their way at once. Safe to use from any thread."""

    def __init__(self, count: int) -> None:
        self._places = threading.BoundedSemaphore(count)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a place while the block lasts.

        Raises:
            TooManyDownloadsError: None is free.
        """
        if not self._places.acquire(blocking=False):
            raise TooManyDownloadsError(
                "as many clips are on their way as this service sends at a time",
                do="try again in a few seconds",
                after_s=3.0,
            )
        try:
            yield
        finally:
            self._places.release()


class Download(StreamingResponse):
    """An age file, or a span of it; everything it holds is given back however it ends."""

    def __init__(
        self,
        store: ObjectStore,
        places: DownloadPlaces,
        sealed: SealedObject,
        *,
        span: Span | None,
        headers: dict[str, str],
    ) -> None:
        with ExitStack() as stack:
            stack.enter_context(places.taken())
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
        """Send it, or as much as the caller takes."""
        try:
            await super().__call__(scope, receive, send)
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
    with store.open_range(sealed.key, max(0, span.start - edge), span.end - edge) as stream:
        yield _joined(head, iter(stream))


def _joined(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest
