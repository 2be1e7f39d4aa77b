"""The keyring: the private halves of the household's epoch keys, one file a member.

A keyring file is an age file whose text has a ``# epoch N`` line and an
``AGE-SECRET-KEY-1…`` line for each epoch from that member's ``from_epoch`` on:
opened, it is a plain identity file for ``age -d -i``. Whom it is sealed to
comes only from the verified roster, and a key counts only if it fits the
recipient that a verified statement announced for its epoch: a file that
opens proves nothing about who wrote it.
"""

import re
from collections.abc import Iterable, Mapping

from doorstep_shared.age_keys import Identity, MalformedKeyError, Recipient
from doorstep_shared.errors import BadMessageError, RefusedError
from doorstep_shared.ids import MemberId, Random
from doorstep_shared.seal import seal_bytes
from doorstep_shared.statements import Statement
from doorstep_shared.unseal import open_age_file

_EPOCH_LINE = re.compile(r"# epoch ([1-9][0-9]{0,15})")


class ForeignEpochError(RefusedError):
    """A keyring holds a key that the household's statements never announced."""


def keyring_text(epochs: Mapping[int, Identity]) -> str:
    """Return the clear text of a keyring file, oldest epoch first."""
    return "".join(f"# epoch {n}\n{epochs[n]}\n" for n in sorted(epochs))


def parse_keyring(text: str) -> dict[int, Identity]:
    """Return the epoch keys in the clear text of a keyring file.

    Raises:
        BadMessageError: It is not one; the text itself is never in the message.
    """
    lines = text.splitlines()
    found: dict[int, Identity] = {}
    for heading, key in zip(lines[::2], lines[1::2], strict=False):
        match = _EPOCH_LINE.fullmatch(heading)
        if match is None or int(match[1]) in found:
            raise BadMessageError("this is not a keyring file")
        try:
            found[int(match[1])] = Identity.parse(key)
        except MalformedKeyError as error:
            raise BadMessageError("this is not a keyring file") from error
    if not found or len(lines) % 2:
        raise BadMessageError("this is not a keyring file")
    return found


def seal_keyrings(
    statement: Statement, epochs: Mapping[int, Identity], random: Random
) -> dict[MemberId, bytes]:
    """Return the keyring file of every member on ``statement``'s roster.

    Args:
        statement: The verified statement that announces the newest epoch.
        epochs: All epoch keys the maker holds.
        random: For the files' keys.
    """
    return {
        member.member: _seal(
            keyring_text({n: key for n, key in epochs.items() if n >= member.from_epoch}),
            Recipient.parse(member.age_recipient),
            random,
        )
        for member in statement.roster
    }


def open_keyring(
    file: bytes, identity: Identity, statements: Iterable[Statement]
) -> dict[int, Identity]:
    """Return the epoch keys in ``file``, each checked against what was announced.

    Args:
        file: A member's keyring file.
        identity: That member's.
        statements: The household's verified chain.

    Raises:
        NotOurEnvelopeError: It is sealed to somebody else.
        ForeignEpochError: It holds a key no statement announced.
        BadMessageError: It is not a keyring file, or was changed.
    """
    try:
        text = open_age_file(file, [identity]).decode()
    except UnicodeDecodeError as error:
        raise BadMessageError("this is not a keyring file") from error
    epochs = parse_keyring(text)
    announced = {s.epoch.n: s.epoch.recipient for s in statements}
    for n, key in epochs.items():
        if announced.get(n) != str(key.recipient()):
            raise ForeignEpochError(
                f"the keyring from the service holds a key for epoch {n} that your household "
                "never announced",
                safe="It was not used; nothing was sealed to it or opened with it.",
                do="tell whoever runs your service; keep this computer's copy of your keys",
            )
    return epochs


def _seal(text: str, recipient: Recipient, random: Random) -> bytes:
    sealed = seal_bytes(text.encode(), recipient, random)
    return sealed.envelope + sealed.payload
