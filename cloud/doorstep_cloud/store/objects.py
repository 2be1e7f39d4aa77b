"""Sealed payloads in S3-compatible storage, written once and never changed.

A payload is put only where nothing is yet, with its SHA-256 for the store to
check, and counts as stored when the store tells the same SHA-256 back.
"""

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.response import StreamingBody

from doorstep_shared.errors import RefusedError, TryLaterError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

READ_BYTES: Final = 64 * 1024
CONNECT_TIMEOUT_S: Final = 3
READ_TIMEOUT_S: Final = 30
RETRY_AFTER_S: Final = 2.0

STORING: Final = "storing"

_NOT_LET_IN: Final = {401, 403}
_MISSING: Final = 404
_EXISTS: Final = 412


Count = Callable[[], None]
"""Is told of each error of the store."""


class ObjectStoreError(TryLaterError):
    """The object store cannot be reached, or does not do what was asked of it now."""


class ObjectConflictError(RefusedError):
    """Other bytes are stored under this key; they stay."""


class ObjectMissingError(RefusedError):
    """Nothing is stored under this key."""


@dataclass(frozen=True, slots=True)
class ListedObject:
    """Something that is stored, as the store lists it.

    Attributes:
        stored_at_ms: Unix milliseconds, by the store's clock.
    """

    key: str
    size_bytes: int
    stored_at_ms: int


class ObjectStream:
    """A run of stored bytes on its way; close it, or read it to its end.

    Attributes:
        length_bytes: As the store says; None if it does not.
    """

    def __init__(
        self, body: StreamingBody, count: Count = lambda: None, *, length_bytes: int | None = None
    ) -> None:
        self._body = body
        self._count = count
        self.length_bytes: Final = length_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes in pieces of 64 KiB.

        Raises:
            ObjectStoreError: The store broke off.
        """
        try:
            with _our_errors("reading", self._count):
                yield from self._body.iter_chunks(READ_BYTES)
        finally:
            self.close()

    def close(self) -> None:
        """Give the connection back; what was not read is not read."""
        self._body.close()


class ObjectStore:
    """One private bucket.

    Methods may be called from any thread, as many at once as there are
    connections; the others wait.
    """

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._counting = threading.Lock()
        self._errors = 0

    @property
    def errors(self) -> int:
        """Return how often the store did not do as asked, since the start of the process."""
        with self._counting:
            return self._errors

    def put_if_absent(self, key: str, data: Path | bytes, sha256: bytes) -> bool:
        """Store ``data`` under ``key``; the same bytes there already are as good.

        Returns whether nothing was there before: what is there now came with this call.

        Args:
            key: Where, such as ``clips/{clip}/file``.
            data: The bytes, or a file of them.
            sha256: Of the bytes; the store refuses any others.

        Raises:
            ObjectConflictError: Other bytes are stored under ``key``.
            ObjectStoreError: The store is away, or did not take them.
        """
        try:
            with _our_errors(STORING, self._count), _opened(data) as body:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=body,
                    IfNoneMatch="*",
                    ChecksumSHA256=base64.b64encode(sha256).decode(),
                )
        except _OccupiedError:
            # Also the answer to our own retry of a put whose answer was lost.
            if self.sha256_of(key) != sha256:
                raise ObjectConflictError(
                    f"other bytes are already stored as {key}", safe="They were not changed."
                ) from None
            return False
        return True

    def sha256_of(self, key: str) -> bytes:
        """Return the SHA-256 of what is stored under ``key``, from the store itself.

        Raises:
            ObjectMissingError: Nothing is stored there.
            ObjectStoreError: The store is away.
        """
        with _our_errors("checking", self._count):
            head = self._client.head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
        if text := head.get("ChecksumSHA256"):
            return base64.b64decode(text)
        # A store that keeps no checksums: what it gives back is what counts.
        digest = hashlib.sha256()
        for piece in self._open(key, None):
            digest.update(piece)
        return digest.digest()

    def open_range(self, key: str, start: int, end: int) -> ObjectStream:
        """Return the bytes from ``start`` up to, not including, ``end``.

        Raises:
            ObjectMissingError: Nothing is stored there.
            ObjectStoreError: The store is away, or has fewer bytes, or sends others.
        """
        stream = self._open(key, f"bytes={start}-{end - 1}")
        if stream.length_bytes != end - start:
            stream.close()
            self._count()
            raise ObjectStoreError(
                "the object store sent other bytes than it was asked for",
                safe="Nothing was passed on.",
                do="see the object store's log",
                after_s=RETRY_AFTER_S,
            )
        return stream

    def require_bucket(self) -> None:
        """Return if the store answers for the bucket.

        Raises:
            ObjectStoreError: It is away, refuses our keys, or has no such bucket.
        """
        try:
            with _our_errors("looking for the bucket", self._count):
                self._client.head_bucket(Bucket=self._bucket)
        except ObjectMissingError as error:
            # The answer to a HEAD has no body that says what is missing.
            self._count()
            raise _no_bucket() from error

    def delete(self, key: str) -> None:
        """Remove what is stored under ``key``, if anything is.

        Raises:
            ObjectStoreError: The store is away.
        """
        with _our_errors("deleting", self._count):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def listed(self, prefix: str) -> Iterator[ListedObject]:
        """Yield what is stored under ``prefix``, by key; asked for as it is read on.

        What is put or deleted meanwhile may be among it or not.

        Raises:
            ObjectStoreError: The store is away, or goes away while it is read.
        """
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix
        )
        with _our_errors("listing", self._count):
            for page in pages:
                for item in page.get("Contents", ()):
                    at_ms = round(item["LastModified"].timestamp() * 1000)
                    yield ListedObject(item["Key"], item["Size"], at_ms)

    def _open(self, key: str, span: str | None) -> ObjectStream:
        with _our_errors("reading", self._count):
            if span is None:
                answer = self._client.get_object(Bucket=self._bucket, Key=key)
            else:
                answer = self._client.get_object(Bucket=self._bucket, Key=key, Range=span)
        return ObjectStream(answer["Body"], self._count, length_bytes=answer.get("ContentLength"))

    def _count(self) -> None:
        with self._counting:
            self._errors += 1


def connect_objects(
    *,
    endpoint: str,
    bucket: str,
    access_key: str,
    secret_key: str,
    connections: int,
    answer_s: float | None = None,
) -> ObjectStore:
    """Return the store at ``endpoint``; nothing is sent yet.

    Args:
        endpoint: ``http://host:port`` or ``https://host``.
        bucket: One that exists and is private.
        access_key: Name of the key pair.
        secret_key: Secret of the key pair.
        connections: How many calls may be under way at once: as many as threads will call.
        answer_s: Asked once, the store has so long to connect and as long to answer. None is
            for large objects: up to half a minute, three times.
    """
    config = Config(
        max_pool_connections=connections,
        connect_timeout=answer_s or CONNECT_TIMEOUT_S,
        read_timeout=answer_s or READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": 1 if answer_s else 3},
        # Every put brings its SHA-256 in a signed header, which the store checks. Signing the
        # body too, or a second checksum, would hash each byte once more for nothing.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path", "payload_signing_enabled": False},
    )
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=config,
    )
    return ObjectStore(client, bucket)


def _no_bucket() -> ObjectStoreError:
    return ObjectStoreError(
        "the object store does not have the service's bucket",
        safe="Nothing is lost: what is not stored stays where it is.",
        do="make it there, or name another with DOORSTEP_CLOUD_S3_BUCKET",
        after_s=RETRY_AFTER_S,
    )


class _OccupiedError(Exception):
    """Something is stored under the key already."""


@contextmanager
def _opened(data: Path | bytes) -> Iterator[IO[bytes] | bytes]:
    if isinstance(data, bytes):
        yield data
    else:
        with data.open("rb") as file:
            yield file


@contextmanager
def _our_errors(doing: str, count: Count) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        ours = _translated(error, doing)
        if isinstance(ours, ObjectStoreError):
            count()
        raise ours from error
    except (BotoCoreError, HTTPClientError) as error:
        count()
        raise ObjectStoreError(
            f"the object store did not answer while {doing}",
            safe="Nothing is lost: what is not stored stays where it is.",
            do="see whether the object store runs",
            after_s=RETRY_AFTER_S,
        ) from error


def _translated(error: ClientError, doing: str) -> Exception:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if status == _EXISTS and doing == STORING:
        return _OccupiedError()
    if status == _MISSING:
        if error.response.get("Error", {}).get("Code") == "NoSuchBucket":
            return _no_bucket()
        return ObjectMissingError("nothing is stored here")
    if status in _NOT_LET_IN:
        return ObjectStoreError(
            f"the object store refuses the service's keys ({status}) while {doing}",
            safe="Nothing is lost: what is not stored stays where it is.",
            do="see DOORSTEP_CLOUD_S3_ACCESS_KEY and DOORSTEP_CLOUD_S3_SECRET_KEY",
            after_s=RETRY_AFTER_S,
        )
    return ObjectStoreError(
        f"the object store answered {status} while {doing}",
        safe="Nothing is lost: what is not stored stays where it is.",
        do="see the object store's log",
        after_s=RETRY_AFTER_S,
    )
