"""An object store in memory, which can be away, and in which things may happen meanwhile."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from doorstep_cloud.store.objects import (
    ListedObject,
    ObjectConflictError,
    ObjectMissingError,
    ObjectStore,
    ObjectStoreError,
)
from tests.people import NOW_MS


class Shelf(ObjectStore):
    """Keeps what is put.

    Attributes:
        held: Bytes and when they were put, by key.
        is_away: Nothing is answered.
        stuck: Keys of objects that it does not let go.
        now_ms: By its own clock.
        when_put: Happens after a put.
        when_listed: Happens before each object that is listed.
    """

    def __init__(self) -> None:
        self.held: dict[str, tuple[bytes, int]] = {}
        self.is_away = False
        self.stuck: set[str] = set()
        self.now_ms = NOW_MS
        self.when_put: Callable[[], None] = lambda: None
        self.when_listed: Callable[[], None] = lambda: None

    def put_if_absent(self, key: str, data: Path | bytes, sha256: bytes) -> bool:
        self._answer()
        content = data if isinstance(data, bytes) else data.read_bytes()
        assert hashlib.sha256(content).digest() == sha256
        if self.held.setdefault(key, (content, self.now_ms))[0] != content:
            raise ObjectConflictError("other bytes are here")
        self.when_put()
        return True

    def sha256_of(self, key: str) -> bytes:
        self._answer()
        if key not in self.held:
            raise ObjectMissingError("nothing is stored here")
        return hashlib.sha256(self.held[key][0]).digest()

    def delete(self, key: str) -> None:
        self._answer()
        if key in self.stuck:
            raise ObjectStoreError("this object does not go", after_s=1.0)
        self.held.pop(key, None)

    def listed(self, prefix: str) -> Iterator[ListedObject]:
        self._answer()
        for key, (content, at_ms) in sorted(self.held.items()):
            self.when_listed()
            if key.startswith(prefix) and key in self.held:
                yield ListedObject(key, len(content), at_ms)

    def _answer(self) -> None:
        if self.is_away:
            raise ObjectStoreError("the object store is away", after_s=1.0)
