"""Sealing to recipients: age v1, with the header kept apart from the rest.

The header is the *envelope*: whose key opens the box. The rest is the
*payload*: a nonce of 16 bytes and chunks of 64 KiB. ``envelope + payload`` is
an ordinary ``.age`` file (C2SP age.md). Nothing in this module can open one;
that is `doorstep_shared.unseal`, which the service may not import.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from doorstep_shared.age_keys import KEY_BYTES, Recipient, shared_secret
from doorstep_shared.errors import BadMessageError, RefusedError
from doorstep_shared.ids import Random

FILE_KEY_BYTES: Final = 16
PAYLOAD_NONCE_BYTES: Final = 16
CHUNK_BYTES: Final = 64 * 1024
TAG_BYTES: Final = 16
SEALED_CHUNK_BYTES: Final = CHUNK_BYTES + TAG_BYTES

X25519_STANZA: Final = "X25519"
_X25519_INFO: Final = b"age-encryption.org/v1/X25519"
_SCRYPT_STANZA: Final = "scrypt"
_VERSION_LINE: Final = b"age-encryption.org/v1"
_MAC_PREFIX: Final = b"---"
_STANZA_PREFIX: Final = b"-> "
# One or more visible ASCII characters; a single space stands between words.
_WORD: Final = re.compile(rb"[\x21-\x7e]+")
_BODY_COLUMNS: Final = 64
_MAC_BYTES: Final = 32
_WRAPPED_KEY_BYTES: Final = FILE_KEY_BYTES + TAG_BYTES

# The 11 bytes of counter in a STREAM nonce; the twelfth is the last-chunk flag.
_COUNTER_BYTES: Final = 11


class MalformedEnvelopeError(BadMessageError):
    """Bytes are not an age v1 header, exactly and with nothing after it."""


class GhostRecipientError(RefusedError):
    """An envelope names nobody, or somebody beside the one recipient it may have."""


@dataclass(frozen=True, slots=True, eq=False)
class FileKey:
    """The secret of one box; its envelopes wrap it, its payload key comes from it.

    It has no text form and its `repr` shows nothing.

    Attributes:
        secret: 16 bytes.
    """

    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) != FILE_KEY_BYTES:
            raise ValueError(f"a file key has {FILE_KEY_BYTES} bytes")

    @classmethod
    def draw(cls, random: Random) -> Self:
        """Return a new file key from 16 bytes of ``random``."""
        return cls(random(FILE_KEY_BYTES))

    def payload_key(self, nonce: bytes) -> bytes:
        """Return the key of the payload that begins with ``nonce``, 32 bytes."""
        return derive_key(self.secret, salt=nonce, info=b"payload")

    def envelope_mac(self, header: bytes) -> bytes:
        """Return the MAC over ``header``, which ends with its ``---``."""
        key = derive_key(self.secret, salt=b"", info=b"header")
        return hmac.digest(key, header, "sha256")

    def __repr__(self) -> str:
        return "FileKey(…)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FileKey):
            return NotImplemented
        return hmac.compare_digest(self.secret, other.secret)

    # Nothing sorts boxes by their secrets; without a hash nobody begins to.
    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Stanza:
    """One way into an envelope.

    Attributes:
        kind: Recipient type, such as ``X25519``.
        args: What follows the type on its line.
        body: The wrapped file key, in its type's form.
    """

    kind: str
    args: tuple[str, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class EnvelopeFacts:
    """What anyone can read in an envelope without a key.

    Attributes:
        stanzas: The ways in, as listed; at least one.
        header: The bytes under the MAC, from the version line through ``---``.
        mac: HMAC-SHA256 over ``header``, by a key only openers know.
    """

    stanzas: tuple[Stanza, ...]
    header: bytes
    mac: bytes


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed box in its two parts.

    Attributes:
        envelope: The age header.
        payload: The rest of the age file.
    """

    envelope: bytes
    payload: bytes


def chunk_offset(index: int) -> int:
    """Return the byte of the payload at which chunk ``index`` (from 0) begins."""
    return PAYLOAD_NONCE_BYTES + SEALED_CHUNK_BYTES * index


def chunk_nonce(index: int, *, final: bool) -> bytes:
    """Return the STREAM nonce of chunk ``index``: a counter and the last-chunk flag."""
    return index.to_bytes(_COUNTER_BYTES, "big") + (b"\x01" if final else b"\x00")


def derive_key(secret: bytes, *, salt: bytes, info: bytes) -> bytes:
    """Return HKDF-SHA256 (RFC 5869) of ``secret``, 32 bytes."""
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(secret)


def seal_envelope(file_key: FileKey, recipients: Sequence[Recipient], random: Random) -> bytes:
    """Return an envelope that lets each of ``recipients`` find ``file_key``.

    Args:
        file_key: The secret of the box.
        recipients: At least one; each draws 32 bytes of ``random``.
        random: Source of the ephemeral keys.

    Raises:
        MalformedKeyError: A recipient is a point of low order.
    """
    if not recipients:
        raise ValueError("an envelope needs a recipient")
    stanzas = [_wrap(file_key, recipient, random(KEY_BYTES)) for recipient in recipients]
    header = b"\n".join([_VERSION_LINE, *stanzas, _MAC_PREFIX])
    return header + b" " + _to_base64(file_key.envelope_mac(header)) + b"\n"


def seal_bytes(data: bytes, recipient: Recipient, random: Random) -> Sealed:
    """Return ``data`` in a box of its own that only ``recipient`` opens.

    Raises:
        MalformedKeyError: The recipient is a point of low order.
    """
    file_key = FileKey.draw(random)
    envelope = seal_envelope(file_key, [recipient], random)
    writer = PayloadWriter(file_key, random(PAYLOAD_NONCE_BYTES))
    return Sealed(envelope, writer.write(data) + writer.finish())


class PayloadSealer:
    """Seals the chunks of one payload, each under a nonce of its own.

    A (file key, payload nonce) pair belongs to one sealer for ever: a second
    one would not know what the first has sealed.

    Attributes:
        header: The 16 bytes a payload begins with.
    """

    def __init__(self, file_key: FileKey, nonce: bytes) -> None:
        if len(nonce) != PAYLOAD_NONCE_BYTES:
            raise ValueError(f"a payload nonce has {PAYLOAD_NONCE_BYTES} bytes")
        self.header: Final = nonce
        self._cipher = ChaCha20Poly1305(file_key.payload_key(nonce))
        self._next_index = {False: 0, True: 0}

    def seal_chunk(self, index: int, plaintext: bytes | memoryview, *, final: bool) -> bytes:
        """Return chunk ``index`` sealed: its ciphertext and a tag of 16 bytes.

        Args:
            index: Place of the chunk, from 0.
            plaintext: 64 KiB; the final chunk may be shorter, and empty only when it is also
                the first.
            final: Whether the payload ends with it.

        Raises:
            ValueError: The length does not fit, or this (index, final) was passed before. A nonce
                of ChaCha20-Poly1305 that meets two plaintexts gives both away, so each is
                used once, in rising order.
        """
        if index < self._next_index[final]:
            raise ValueError(f"chunk {index} (final: {final}) was sealed before")
        shortest = min(index, 1) if final else CHUNK_BYTES
        if not shortest <= len(plaintext) <= CHUNK_BYTES:
            raise ValueError(f"chunk {index} (final: {final}) cannot hold {len(plaintext)} bytes")
        self._next_index[final] = index + 1
        return self._cipher.encrypt(chunk_nonce(index, final=final), plaintext, None)


class PayloadWriter:
    """Seals a stream of any length into a payload, a chunk behind its input.

    Hashing and storing what it returns is up to the caller.
    """

    def __init__(self, file_key: FileKey, nonce: bytes) -> None:
        self._sealer = PayloadSealer(file_key, nonce)
        self._unwritten = self._sealer.header
        self._held = b""
        self._index = 0
        self._is_finished = False

    def write(self, data: bytes) -> bytes:
        """Return the payload bytes that ``data`` settles; may be empty.

        The newest 1 to 65536 bytes are held back: they may turn out to be the last.

        Raises:
            ValueError: The payload was finished.
        """
        self._require_growing()
        held = memoryview(self._held + data if self._held else data)
        sealed = [self._unwritten]
        start = 0
        while len(held) - start > CHUNK_BYTES:
            sealed.append(self._seal(held[start : start + CHUNK_BYTES], final=False))
            start += CHUNK_BYTES
        self._held = bytes(held[start:])
        self._unwritten = b""
        return b"".join(sealed)

    def finish(self) -> bytes:
        """Return the rest of the payload; nothing may be written after it.

        Raises:
            ValueError: The payload was finished before.
        """
        self._require_growing()
        self._is_finished = True
        return self._unwritten + self._seal(self._held, final=True)

    def _require_growing(self) -> None:
        if self._is_finished:
            raise ValueError("this payload was finished before")

    def _seal(self, plaintext: bytes | memoryview, *, final: bool) -> bytes:
        chunk = self._sealer.seal_chunk(self._index, plaintext, final=final)
        self._index += 1
        return chunk


def parse_envelope(envelope: bytes) -> EnvelopeFacts:
    """Return what ``envelope`` says to those without a key.

    Raises:
        MalformedEnvelopeError: It is not exactly one age v1 header: another version, another
            spelling of base64, a line too long, a byte after the MAC line.
    """
    facts, length = parse_header(envelope)
    if length != len(envelope):
        raise malformed("there are bytes after this age header")
    return facts


def parse_header(data: bytes) -> tuple[EnvelopeFacts, int]:
    """Return the facts of the age header that ``data`` begins with, and its length in bytes.

    Raises:
        MalformedEnvelopeError: ``data`` does not begin with an age v1 header.
    """
    lines = _Lines(data)
    if lines.take() != _VERSION_LINE:
        raise malformed("this is not an age v1 file")
    stanzas = []
    while (line := lines.take()).startswith(_STANZA_PREFIX):
        stanzas.append(_parse_stanza(line, lines))
    prefix, _, mac_text = line.partition(b" ")
    if prefix != _MAC_PREFIX:
        raise malformed("a line of this age header is neither a recipient nor the end")
    mac = _from_base64(mac_text)
    if len(mac) != _MAC_BYTES:
        raise malformed("the MAC of this age header has a wrong length")
    _require_sensible(stanzas)
    header = data[: lines.offset - len(b" " + mac_text + b"\n")]
    return EnvelopeFacts(tuple(stanzas), header, mac), lines.offset


def require_one_recipient_stanza(facts: EnvelopeFacts) -> Stanza:
    """Return the only stanza of an envelope that one of our own programs wrote.

    Which recipient it is for cannot be seen; that it is alone can. The harmless
    "grease" that other programs add would hide a ghost, and ours never add it.

    Raises:
        GhostRecipientError: There is a second stanza, or the one is not X25519.
        MalformedEnvelopeError: The X25519 stanza does not have its shape.
    """
    if [stanza.kind for stanza in facts.stanzas] != [X25519_STANZA]:
        kinds = ", ".join(stanza.kind for stanza in facts.stanzas)
        raise GhostRecipientError(
            f"this envelope must name one X25519 recipient, and names: {kinds}",
            safe="It was not used.",
            do="tell the household's owner: somebody may have added a reader",
        )
    stanza = facts.stanzas[0]
    x25519_share(stanza)
    return stanza


def x25519_share(stanza: Stanza) -> bytes:
    """Return the ephemeral share of an X25519 ``stanza``, 32 bytes.

    Raises:
        MalformedEnvelopeError: The stanza does not have one share and a body of 32 bytes.
    """
    if len(stanza.args) != 1 or len(stanza.body) != _WRAPPED_KEY_BYTES:
        raise malformed("an X25519 recipient in this age header has a wrong shape")
    share = _from_base64(stanza.args[0].encode())
    if len(share) != KEY_BYTES:
        raise malformed("an X25519 share in this age header has a wrong length")
    return share


def x25519_wrap_cipher(secret: bytes, share: bytes, recipient: Recipient) -> ChaCha20Poly1305:
    """Return the cipher that wraps a file key in one X25519 stanza.

    Each key comes from a fresh ephemeral share and wraps one file key, with a nonce of zeros.
    """
    salt = share + recipient.public
    return ChaCha20Poly1305(derive_key(secret, salt=salt, info=_X25519_INFO))


X25519_WRAP_NONCE: Final = bytes(12)


def malformed(fact: str) -> MalformedEnvelopeError:
    """Return the error for bytes that are no envelope."""
    return MalformedEnvelopeError(fact, do="get the file again; it may be incomplete")


def _wrap(file_key: FileKey, recipient: Recipient, ephemeral: bytes) -> bytes:
    share = X25519PrivateKey.from_private_bytes(ephemeral).public_key().public_bytes_raw()
    cipher = x25519_wrap_cipher(shared_secret(ephemeral, recipient.public), share, recipient)
    body = cipher.encrypt(X25519_WRAP_NONCE, file_key.secret, None)
    first_line = b" ".join([b"->", X25519_STANZA.encode(), _to_base64(share)])
    # 32 bytes are 43 columns: one line, shorter than 64, so it also ends the stanza.
    return first_line + b"\n" + _to_base64(body)


class _Lines:
    """The lines of a header, one after another."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.offset = 0

    def take(self) -> bytes:
        end = self._data.find(b"\n", self.offset)
        if end < 0:
            raise malformed("this age header is cut short")
        line = self._data[self.offset : end]
        self.offset = end + 1
        return line


def _parse_stanza(first_line: bytes, lines: _Lines) -> Stanza:
    words = first_line[len(_STANZA_PREFIX) :].split(b" ")
    if not all(_WORD.fullmatch(word) for word in words):
        raise malformed("a recipient line of this age header holds a stray character")
    body = bytearray()
    while True:
        line = lines.take()
        if len(line) > _BODY_COLUMNS:
            raise malformed("a line of this age header is too long")
        body += _from_base64(line)
        if len(line) < _BODY_COLUMNS:
            break
    kind, *args = (word.decode() for word in words)
    return Stanza(kind, tuple(args), bytes(body))


def _require_sensible(stanzas: Sequence[Stanza]) -> None:
    if not stanzas:
        raise malformed("this age header names no recipient")
    if len(stanzas) > 1 and any(stanza.kind == _SCRYPT_STANZA for stanza in stanzas):
        raise malformed("a passphrase in an age header must be alone")


def _to_base64(data: bytes) -> bytes:
    return base64.b64encode(data).rstrip(b"=")


def _from_base64(text: bytes) -> bytes:
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise malformed("this age header holds something that is not base64") from error
    if _to_base64(data) != text:
        raise malformed("this age header spells base64 in another way")
    return data
