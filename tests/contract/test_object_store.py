"""What an object store must do, tried on the real one."""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from doorstep_cloud.store.objects import (
    ObjectConflictError,
    ObjectMissingError,
    ObjectStore,
    ObjectStoreError,
)
from tests.services import SeaweedFs, seaweedfs, store_at, store_nowhere

DATA = bytes(range(256)) * 1024
NAMES = count()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFs]:
    with seaweedfs(tmp_path_factory.mktemp("objects")) as service:
        yield service


@pytest.fixture
def store(running: SeaweedFs) -> ObjectStore:
    return running.store


@pytest.fixture
def key() -> str:
    return f"clips/{next(NAMES)}/file"


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def read(store: ObjectStore, key: str, start: int, end: int) -> bytes:
    with store.open_range(key, start, end) as stream:
        return b"".join(stream)


def test_what_was_put_is_read_back_with_its_hash(store: ObjectStore, key: str) -> None:
    store.put_if_absent(key, DATA, sha256(DATA))
    assert store.sha256_of(key) == sha256(DATA)
    assert read(store, key, 0, len(DATA)) == DATA


def test_a_file_is_put_like_its_bytes(store: ObjectStore, key: str, tmp_path: Path) -> None:
    path = tmp_path / "payload"
    path.write_bytes(DATA * 20)
    store.put_if_absent(key, path, sha256(DATA * 20))
    assert store.sha256_of(key) == sha256(DATA * 20)


@pytest.mark.parametrize(("start", "end"), [(0, 1), (1, 70_000), (len(DATA) - 1, len(DATA))])
def test_any_range_can_be_read(store: ObjectStore, key: str, start: int, end: int) -> None:
    store.put_if_absent(key, DATA, sha256(DATA))
    assert read(store, key, start, end) == DATA[start:end]


def test_the_same_bytes_again_are_as_good(store: ObjectStore, key: str) -> None:
    store.put_if_absent(key, DATA, sha256(DATA))
    store.put_if_absent(key, DATA, sha256(DATA))
    assert store.sha256_of(key) == sha256(DATA)


def test_other_bytes_under_a_taken_key_are_a_conflict(store: ObjectStore, key: str) -> None:
    store.put_if_absent(key, DATA, sha256(DATA))
    with pytest.raises(ObjectConflictError):
        store.put_if_absent(key, b"other", sha256(b"other"))
    assert store.sha256_of(key) == sha256(DATA)


def test_of_many_writers_at_once_one_wins(store: ObjectStore, key: str) -> None:
    def put(data: bytes) -> bool:
        try:
            store.put_if_absent(key, data, sha256(data))
        except ObjectConflictError:
            return False
        return True

    wishes = [bytes([n]) * 1000 for n in range(8)]
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(put, wishes))
    assert sum(won) == 1
    assert store.sha256_of(key) == sha256(wishes[won.index(True)])


def test_bytes_that_do_not_fit_their_hash_are_not_stored(store: ObjectStore, key: str) -> None:
    with pytest.raises(ObjectStoreError):
        store.put_if_absent(key, DATA, sha256(b"other"))
    with pytest.raises(ObjectMissingError):
        store.sha256_of(key)


def test_nothing_is_read_where_nothing_is(store: ObjectStore, key: str) -> None:
    with pytest.raises(ObjectMissingError):
        store.open_range(key, 0, 1)


def test_what_was_deleted_is_gone_and_may_be_deleted_again(store: ObjectStore, key: str) -> None:
    store.put_if_absent(key, DATA, sha256(DATA))
    store.delete(key)
    store.delete(key)
    with pytest.raises(ObjectMissingError):
        store.sha256_of(key)


def test_what_is_stored_is_listed_by_key_with_size_and_time(store: ObjectStore) -> None:
    folder = f"listed-{next(NAMES)}/"
    names = [f"{folder}{clip}/{name}" for clip in "ab" for name in ("details", "file", "thumb")]
    before_ms = time.time() * 1000
    for name in reversed(names):
        store.put_if_absent(name, DATA[: len(name)], sha256(DATA[: len(name)]))
    store.put_if_absent(f"not-{folder}a/file", b"x", sha256(b"x"))
    found = list(store.listed(folder))
    assert [(item.key, item.size_bytes) for item in found] == [(name, len(name)) for name in names]
    # The store's times are whole seconds.
    assert all(before_ms - 1000 <= item.stored_at_ms <= time.time() * 1000 for item in found)
    store.delete(names[0])
    assert [item.key for item in store.listed(folder)] == names[1:]


def test_a_list_goes_on_over_its_pages(store: ObjectStore) -> None:
    folder = f"pages-{next(NAMES)}/"
    with ThreadPoolExecutor(8) as threads:
        list(
            threads.map(
                lambda n: store.put_if_absent(f"{folder}{n:04}", b"", sha256(b"")), range(1005)
            )
        )
    assert [item.key for item in store.listed(folder)] == [f"{folder}{n:04}" for n in range(1005)]


def test_nothing_is_listed_where_nothing_is(store: ObjectStore) -> None:
    assert list(store.listed("nowhere/")) == []
    with pytest.raises(ObjectStoreError):
        list(store_nowhere().listed(""))


def test_a_stream_left_early_gives_its_connection_back(store: ObjectStore, key: str) -> None:
    store.put_if_absent(key, DATA, sha256(DATA))
    for _ in range(20):
        with store.open_range(key, 0, len(DATA)) as stream:
            next(iter(stream))


def test_a_store_that_is_away_is_asked_again_later() -> None:
    with pytest.raises(ObjectStoreError) as caught:
        store_nowhere().put_if_absent("clips/x/file", b"x", sha256(b"x"))
    assert caught.value.after_s is not None


def test_a_wrong_key_pair_stores_nothing(running: SeaweedFs) -> None:
    stranger = store_at(running.endpoint, secret="not-the-secret")
    with pytest.raises(ObjectStoreError):
        stranger.put_if_absent("clips/stranger/file", b"x", sha256(b"x"))
    with pytest.raises(ObjectMissingError):
        running.store.sha256_of("clips/stranger/file")
