"""Opening what was sealed, and wrapping its key for somebody else.

For those who hold identities: people's own programs. The service may not
import this module, nor anything else that can do the same.
"""

import hmac
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from doorstep_shared.age_keys import Identity, MalformedKeyError, Recipient, shared_secret
from doorstep_shared.errors import BadMessageError, RefusedError
from doorstep_shared.ids import Random
from doorstep_shared.seal import (
    CHUNK_BYTES,
    PAYLOAD_NONCE_BYTES,
    SEALED_CHUNK_BYTES,
    TAG_BYTES,
    X25519_STANZA,
    X25519_WRAP_NONCE,
    EnvelopeFacts,
    FileKey,
    Stanza,
    chunk_nonce,
    malformed,
    parse_envelope,
    parse_header,
    seal_envelope,
    x25519_share,
    x25519_wrap_cipher,
)


class NotOurEnvelopeError(RefusedError):
    """None of the identities at hand opens this envelope."""


class TamperedEnvelopeError(BadMessageError):
    """An envelope opens, but is not as its writer made it."""


class TamperedPayloadError(BadMessageError):
    """A payload is not what this file key sealed, or not in this order."""


class TruncatedPayloadError(BadMessageError):
    """A payload ends before its last chunk."""


def open_envelope(envelope: bytes, identities: Sequence[Identity]) -> FileKey:
    """Return the file key that ``envelope`` holds for one of ``identities``.

    Raises:
        MalformedEnvelopeError: It is not an age v1 header, or a stanza in it is misshapen.
        NotOurEnvelopeError: It is for none of the identities.
        TamperedEnvelopeError: It was changed after it was made.
    """
    return _open_facts(parse_envelope(envelope), identities)


def open_age_file(data: bytes, identities: Sequence[Identity]) -> bytes:
    """Return the plaintext of a whole ``.age`` file (binary form, not armoured).

    Raises:
        MalformedEnvelopeError: ``data`` does not begin with an age v1 header.
        NotOurEnvelopeError: It is for none of the identities.
        TamperedEnvelopeError: Its header was changed after it was made.
        TamperedPayloadError: Its payload was.
        TruncatedPayloadError: Its end is missing.
    """
    facts, length = parse_header(data)
    return open_payload(_open_facts(facts, identities), data[length:])


def open_payload(file_key: FileKey, payload: bytes) -> bytes:
    """Return the plaintext of a whole ``payload``.

    Raises:
        TamperedPayloadError: It is not what ``file_key`` sealed, or something follows its end.
        TruncatedPayloadError: Its end is missing.
    """
    return b"".join(open_stream(file_key, [payload]))


def open_stream(file_key: FileKey, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the plaintext of a payload that arrives in ``pieces`` of any size.

    Every yield is authenticated. Only the end of the iteration says that the
    payload is whole: what was yielded before an error is a true beginning of it.

    Raises:
        TamperedPayloadError: A piece is not what ``file_key`` sealed here.
        TruncatedPayloadError: The pieces end before the payload does.
    """
    reader = PayloadReader(file_key)
    for piece in pieces:
        view = memoryview(piece)
        # In steps of at most one chunk, so that no good chunk waits behind a bad one.
        for start in range(0, len(view), CHUNK_BYTES):
            if plaintext := reader.feed(view[start : start + CHUNK_BYTES]):
                yield plaintext
    if plaintext := reader.finish():
        yield plaintext


def open_range(
    file_key: FileKey, nonce: bytes, first_index: int, chunks: bytes, *, ends_payload: bool
) -> bytes:
    """Return the plaintext of consecutive whole chunks from the middle of a payload.

    Args:
        file_key: The secret of the box.
        nonce: The first 16 bytes of the payload.
        first_index: Which chunk ``chunks`` begins with; see `doorstep_shared.seal.chunk_offset`.
        chunks: Sealed chunks, each whole.
        ends_payload: Whether the last of them is the payload's last. Only then is it known that
            nothing follows.

    Raises:
        TamperedPayloadError: They are not these chunks of this payload.
        TruncatedPayloadError: ``chunks`` is empty, or ends within a chunk's tag.
    """
    opener = _ChunkOpener(file_key, nonce)
    starts = range(0, len(chunks), SEALED_CHUNK_BYTES)
    if not starts:
        raise _truncated("there is no chunk to open")
    view = memoryview(chunks)
    return b"".join(
        opener.open(
            first_index + place,
            view[start : start + SEALED_CHUNK_BYTES],
            final=ends_payload and start == starts[-1],
        )
        for place, start in enumerate(starts)
    )


def rewrap_envelope(file_key: FileKey, recipients: Sequence[Recipient], random: Random) -> bytes:
    """Return a further envelope for a box that exists: its payload stays as it is.

    What this hands out is the whole box. Decide first; see the manifest's checks.

    Raises:
        MalformedKeyError: A recipient is a point of low order.
    """
    return seal_envelope(file_key, recipients, random)


def parse_identity_file(text: str) -> list[Identity]:
    """Return the identities of an ``age -i`` file, in its order.

    Blank lines and lines that begin with ``#`` are skipped.

    Raises:
        MalformedKeyError: A line is something else, or there is no identity. Names the line
            by number and never repeats it.
    """
    identities = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            identities.append(Identity.parse(line.strip()))
        except MalformedKeyError as error:
            raise MalformedKeyError(
                f"line {number} of the identity file: {error.fact}", do=error.do
            ) from None
    if not identities:
        raise MalformedKeyError("this identity file holds no key", do="pass the file with your key")
    return identities


class PayloadReader:
    """Opens a payload as it arrives; gives out nothing that is not authenticated.

    After an error it is of no more use.
    """

    def __init__(self, file_key: FileKey) -> None:
        self._file_key = file_key
        self._opener: _ChunkOpener | None = None
        self._held = b""
        self._index = 0
        self._ended = False

    def feed(self, data: bytes | memoryview) -> bytes:
        """Return the plaintext of the chunks that ``data`` makes whole; may be empty.

        Raises:
            TamperedPayloadError: A chunk is not what the file key sealed here, or the payload
                had ended before.
        """
        self._require_nothing_behind()
        self._held += data
        if self._opener is None:
            if len(self._held) < PAYLOAD_NONCE_BYTES:
                return b""
            self._opener = _ChunkOpener(self._file_key, self._held[:PAYLOAD_NONCE_BYTES])
            self._held = self._held[PAYLOAD_NONCE_BYTES:]
        return self._open_full_chunks(self._opener)

    def finish(self) -> bytes:
        """Return what the last chunk still holds, and with it the word that this was all.

        Raises:
            TamperedPayloadError: The last chunk is not what the file key sealed here, or is not
                the last.
            TruncatedPayloadError: The payload goes on.
        """
        self._require_nothing_behind()
        if self._opener is None:
            raise _truncated("this payload ends within its first 16 bytes")
        return b"" if self._ended else self._opener.open(self._index, self._held, final=True)

    def _open_full_chunks(self, opener: "_ChunkOpener") -> bytes:
        view = memoryview(self._held)
        opened: list[bytes] = []
        start = 0
        while not self._ended and len(view) - start >= SEALED_CHUNK_BYTES:
            sealed = view[start : start + SEALED_CHUNK_BYTES]
            plaintext, self._ended = opener.open_full(self._index, sealed)
            opened.append(plaintext)
            self._index += 1
            start += SEALED_CHUNK_BYTES
        self._held = bytes(view[start:])
        return b"".join(opened)

    def _require_nothing_behind(self) -> None:
        if self._ended and self._held:
            raise _tampered("this payload has ended, and something was added behind")


class _ChunkOpener:
    """Opens single chunks of one payload and tells a cut from a forgery."""

    def __init__(self, file_key: FileKey, nonce: bytes) -> None:
        self._cipher: Final = ChaCha20Poly1305(file_key.payload_key(nonce))

    def open_full(self, index: int, sealed: bytes | memoryview) -> tuple[bytes, bool]:
        """Return the plaintext of a chunk of full length, and whether the payload ends with it."""
        for final in (False, True):
            if (plaintext := self._try(index, sealed, final=final)) is not None:
                return plaintext, final
        raise _tampered(f"chunk {index} of this payload is not what was sealed")

    def open(self, index: int, sealed: bytes | memoryview, *, final: bool) -> bytes:
        """Return the plaintext of a chunk that must, or must not, end the payload."""
        if len(sealed) < TAG_BYTES:
            raise _truncated(f"this payload ends within chunk {index}, or just before it")
        plaintext = self._try(index, sealed, final=final)
        if plaintext is None:
            raise self._explain(index, sealed, final=final)
        if index > 0 and not plaintext:
            raise _tampered("this payload ends with an empty chunk, which age forbids")
        return plaintext

    def _explain(self, index: int, sealed: bytes | memoryview, *, final: bool) -> BadMessageError:
        if self._try(index, sealed, final=not final) is None:
            return _tampered(f"chunk {index} of this payload is not what was sealed")
        if final:
            return _truncated(f"this payload goes on after chunk {index}, and its rest is missing")
        return _tampered(f"this payload ends with chunk {index}, and something was added behind")

    def _try(self, index: int, sealed: bytes | memoryview, *, final: bool) -> bytes | None:
        try:
            return self._cipher.decrypt(chunk_nonce(index, final=final), sealed, None)
        except InvalidTag:
            return None


def _open_facts(facts: EnvelopeFacts, identities: Sequence[Identity]) -> FileKey:
    file_key = _find_file_key(facts.stanzas, identities)
    if file_key is None:
        raise NotOurEnvelopeError(
            "none of these keys opens this file",
            safe="Nothing was changed.",
            do="pass the key file of the household, or of the epoch, that it was sealed to",
        )
    if not hmac.compare_digest(file_key.envelope_mac(facts.header), facts.mac):
        raise TamperedEnvelopeError("this age header was changed after it was made")
    return file_key


def _find_file_key(stanzas: Sequence[Stanza], identities: Sequence[Identity]) -> FileKey | None:
    ours = [(stanza, x25519_share(stanza)) for stanza in stanzas if stanza.kind == X25519_STANZA]
    for identity in identities:
        for stanza, share in ours:
            if (file_key := _unwrap(stanza, share, identity)) is not None:
                return file_key
    return None


def _unwrap(stanza: Stanza, share: bytes, identity: Identity) -> FileKey | None:
    try:
        secret = shared_secret(identity.secret, share)
    except MalformedKeyError as error:
        raise malformed("an X25519 share in this age header is of low order") from error
    cipher = x25519_wrap_cipher(secret, share, identity.recipient())
    try:
        return FileKey(cipher.decrypt(X25519_WRAP_NONCE, stanza.body, None))
    except InvalidTag:
        return None


def _tampered(fact: str) -> TamperedPayloadError:
    return TamperedPayloadError(
        fact,
        safe="What was read before it is true to the original.",
        do="get the file again; if it stays so, keep it and tell the household's owner",
    )


def _truncated(fact: str) -> TruncatedPayloadError:
    return TruncatedPayloadError(
        fact, safe="What was read before it is true to the original.", do="get the file again"
    )
