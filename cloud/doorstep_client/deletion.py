"""Clips deleted for good: asked of the service, its receipts checked and kept, doorbells told.

The service's word is a receipt under a key that its CA has certified. That CA is pinned at the
first deletion, and must be the one that the claims made on this computer name.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field

from doorstep_client.answers import Answer
from doorstep_client.clips import Filter, list_clips, read_clip
from doorstep_client.errors import (
    NotThereError,
    OddAnswerError,
    OtherServiceError,
    ServiceUnreachableError,
)
from doorstep_client.household import Household, now_ms
from doorstep_shared.certificates import (
    WrongCertificateError,
    ca_fingerprint,
    receipt_key_in,
)
from doorstep_shared.claim import parse_claim
from doorstep_shared.commands import MAX_CLIPS
from doorstep_shared.deletions import Deletion, verify_deletion
from doorstep_shared.errors import BadMessageError, RefusedError
from doorstep_shared.ids import ClipId, DeviceId
from doorstep_shared.signing import Kind, Signed, VerifyKey, WrongSignatureError, read_body

MOST_CLIPS: Final = 100_000
"""Listed in order to be deleted at once: 60 days of a doorbell at a busy street, thrice."""

# A vault that is being read cannot sign yet; it asks for two seconds.
TRIES: Final = 4
PAUSE_S: Final = 2.0

# No household keeps a clip for more than 60 days, and nothing expires on the day of a restore.
_MAY_BE_BACK_MS: Final = 62 * 24 * 3600 * 1000

_Pem = Annotated[str, Field(max_length=8192)]


class DeletionAnswer(Answer):
    """The service's word that a clip is deleted, and what proves the key it is signed with."""

    receipt: Signed
    receipt_certificate: _Pem
    ca_certificate: _Pem


@dataclass(frozen=True, slots=True)
class Doomed:
    """A clip that is to be deleted.

    Attributes:
        device: Whose it is; None if the service does not show it, as one deleted before.
    """

    clip: ClipId
    device: DeviceId | None


@dataclass(frozen=True, slots=True)
class Wish:
    """What an owner wants to be deleted: clips by name, or all of a doorbell or of a time.

    Attributes:
        device: Only this doorbell's.
        until: RFC 3339 with its zone: only those that began before.
        until_ms: The same, Unix milliseconds; for doorbells, which keep what nobody has listed.
    """

    clips: Sequence[ClipId] = ()
    device: DeviceId | None = None
    until: str | None = None
    until_ms: int | None = None


def find_doomed(household: Household, wish: Wish) -> list[Doomed]:
    """Return the clips that ``wish`` means, as the service shows them."""
    if wish.clips:
        return [Doomed(clip, _device_of(household, clip)) for clip in dict.fromkeys(wish.clips)]
    wanted = Filter(device=wish.device, until=wish.until, limit=MOST_CLIPS)
    return [Doomed(item.id, item.device) for item in list_clips(household, wanted)]


def delete_clip(
    household: Household, clip: ClipId, wait: Callable[[float], None] = time.sleep
) -> Deletion:
    """Delete a clip at the service; return its receipt, checked and kept at home.

    Raises:
        NotThereError: The household has no such clip.
        OtherServiceError: The receipt is not that of the service this computer knows.
        ServiceUnreachableError: Ask again: the same receipt comes.
    """
    answer = _ask(household, clip, wait)
    key = _receipt_key(household, answer)
    try:
        deletion = verify_deletion(answer.receipt, key)
    except (WrongSignatureError, BadMessageError) as error:
        raise OddAnswerError("the service's receipt for a deletion is none") from error
    if (deletion.clip, deletion.household) != (clip, household.account.household):
        raise OddAnswerError("the service's receipt is for another clip than the one deleted")
    household.home.keep_deletion(answer.receipt)
    return deletion


def delete_again(household: Household) -> list[str]:
    """Delete what this computer has receipts for and the service shows again; say so in words.

    A service that was put back from backups, and has lost what knew better, shows what was
    deleted since. Its owner has asked for that once, and is not asked again.
    """
    kept = _deleted_lately(household)
    if not kept:
        return []
    shown = [item.id for item in list_clips(household, Filter(limit=MOST_CLIPS))]
    said, count = [], 0
    for clip in kept.intersection(shown):
        try:
            delete_clip(household, clip)
            count += 1
        except RefusedError as error:
            said.append(
                f"The service shows clip {clip} again, which it had deleted, and does not delete "
                f"it once more: {error.fact}."
            )
    if count:
        said.append(
            "The service showed again what you had deleted, as after a restore. This computer "
            f"has deleted it once more, clips: {count}."
        )
    return said


def _deleted_lately(household: Household) -> set[ClipId]:
    """Return the clips that the service may still show if it has forgotten their deletion."""
    since_ms = now_ms() - _MAY_BE_BACK_MS
    clips = set()
    for receipt in household.home.deletions():
        # Checked before it was kept; a body of a later version says nothing here.
        with suppress(BadMessageError):
            deletion = read_body(Kind.DELETION, receipt.body, Deletion)
            if deletion.household == household.account.household and deletion.at >= since_ms:
                clips.add(deletion.clip)
    return clips


def tell_doorbells(household: Household, wish: Wish, doomed: Iterable[Doomed]) -> list[str]:
    """Have doorbells delete their own copies; return in words what could not be brought.

    A clip whose doorbell is not known is told to all: the run that deleted it at the
    service may have ended before it told any.
    """
    if wish.clips:
        orders: list[tuple[DeviceId, Sequence[ClipId] | None, int | None]] = [
            (device, clips[at : at + MAX_CLIPS], None)
            for device, clips in _clips_of_doorbells(household, doomed).items()
            for at in range(0, len(clips), MAX_CLIPS)
        ]
    else:
        # What the doorbell has not told anybody of yet goes too.
        devices = [wish.device] if wish.device is not None else _active_devices(household)
        orders = [(device, None, wish.until_ms) for device in devices]
    problems = []
    for device, clips, until_ms in orders:
        try:
            household.send_delete_command(device, clips=clips, until_ms=until_ms)
        except (RefusedError, ServiceUnreachableError) as error:
            problems.append(f"{device}: {error.fact}")
    return problems


def _device_of(household: Household, clip: ClipId) -> DeviceId | None:
    try:
        return read_clip(household, clip).device
    except NotThereError:
        return None


def _clips_of_doorbells(
    household: Household, doomed: Iterable[Doomed]
) -> dict[DeviceId, list[ClipId]]:
    clips_of: defaultdict[DeviceId, list[ClipId]] = defaultdict(list)
    unclear: list[ClipId] = []
    for one in doomed:
        (unclear if one.device is None else clips_of[one.device]).append(one.clip)
    for device in _active_devices(household) if unclear else ():
        clips_of[device] += unclear
    return clips_of


def _active_devices(household: Household) -> list[DeviceId]:
    statement = household.chain().head.statement
    return [device.id for device in statement.devices if device.state == "active"]


def _ask(household: Household, clip: ClipId, wait: Callable[[float], None]) -> DeletionAnswer:
    path = f"/v1/clips/{clip}"
    for _ in range(TRIES - 1):
        try:
            return household.ask(lambda service: service.delete_for(path, DeletionAnswer))
        except ServiceUnreachableError:
            wait(PAUSE_S)
    return household.ask(lambda service: service.delete_for(path, DeletionAnswer))


def _receipt_key(household: Household, answer: DeletionAnswer) -> VerifyKey:
    """Return the receipt key in ``answer``; its CA is the pinned one from now on."""
    home = household.home
    try:
        key = receipt_key_in(answer.receipt_certificate, answer.ca_certificate)
        ca = ca_fingerprint(answer.ca_certificate)
        pinned = home.service_ca()
        known = {parse_claim(text).ca_sha256 for text in home.claims_ever()}
    except (WrongCertificateError, BadMessageError) as error:
        raise OddAnswerError(f"the service's receipt proves nothing: {error.fact}") from error
    if (pinned is not None and ca_fingerprint(pinned) != ca) or known - {ca}:
        raise OtherServiceError(
            "the receipt is certified by another service than the one this computer knows",
            safe="The clip may be deleted all the same; nobody you know has signed for it.",
            do="ask whoever runs your service whether its keys were made anew; if so, remove "
            f"{home.folder}/service-ca.pem",
        )
    if pinned is None:
        home.save_service_ca(answer.ca_certificate)
    return key
