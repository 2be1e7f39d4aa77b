"""What whoever runs the service can see of each field: the whole registry, one line a field.

A column, a body's field or a log's fact that is not here fails a test, which names it. To
add one, write its line below: `sealed(…)` when only the household's keys open it, `seen(…)`
when it is readable as it stands, and what it tells about people. Then type `make reference`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias


class Group(StrEnum):
    """How much of a field whoever runs the service can read."""

    SEALED = "sealed"
    VISIBLE = "visible"
    LOGGED = "logged"


@dataclass(frozen=True, slots=True)
class Sight:
    """What a field tells whom."""

    group: Group
    words: str


Fields: TypeAlias = Mapping[str, Sight]


def sealed(words: str) -> Sight:
    """Return that only the household's keys open it."""
    return Sight(Group.SEALED, words)


def seen(words: str) -> Sight:
    """Return that it is readable as it stands."""
    return Sight(Group.VISIBLE, words)


_HOUSEHOLD: Final = seen("which household: 128 random bits, no name")
_DEVICE: Final = seen("which doorbell: random, no name and no place")
_CLIP: Final = seen("which clip; the id holds the millisecond it was made")
_EVENT: Final = seen("which event; the id holds the millisecond it was made")
_OBJECT: Final = seen("film, thumbnail or details")
_KIND: Final = seen("ring or motion")
_SYNCED: Final = seen("whether the doorbell's clock was set")
_VERSION: Final = seen("version of the format")
_BOOT: Final = seen("which start of the doorbell: random")
_HASH_OF_SEALED: Final = seen("a hash of sealed bytes; tells that two are the same, nothing else")
_SIGNED: Final = seen("signed by its owner or doorbell, readable: its fields are below")
_CODE: Final = seen("a hash of a secret code; the code itself is not kept")
_PUBLIC_KEY: Final = seen("a public key")
_COUNTED: Final = seen("a running number")

COLUMNS: Final[Mapping[str, Fields]] = {
    "household": {
        "id": _HOUSEHOLD,
        "root": seen("hash of the household's first statement"),
        "created_at_ms": seen("when it was founded"),
    },
    "statement": {
        "household": _HOUSEHOLD,
        "seq": _COUNTED,
        "body_sha256": seen("hash of the statement"),
        "signed": _SIGNED,
        "epoch": seen("which of the household's keys is in use, as a number"),
        "epoch_recipient": _PUBLIC_KEY,
        "has_keyring": seen("whether keys were handed round with it"),
        "received_at_ms": seen("when people or doorbells of the household changed"),
    },
    "member": {
        "household": _HOUSEHOLD,
        "id": seen("which person: 128 random bits, no name"),
        "role": seen("owner or viewer"),
        "sign_key": _PUBLIC_KEY,
        "sign_key_id": seen("hash of that key"),
    },
    "household_settings": {
        "household": _HOUSEHOLD,
        "retention_days": seen("how long clips and events are kept"),
        "changed_at_ms": seen("when that was set"),
    },
    "consent_policy": {
        "household": _HOUSEHOLD,
        "version": _COUNTED,
        "body_sha256": seen("hash of the policy"),
        "signed": _SIGNED,
        "received_at_ms": seen("when it was set"),
    },
    "invite": {
        "code_sha256": _CODE,
        "created_at_ms": seen("when it was made"),
        "expires_at_ms": seen("until when it is good"),
        "household": seen("which household came of it"),
    },
    "sign_in_challenge": {
        "nonce": seen("a random number for one sign-in"),
        "expires_at_ms": seen("until when it is good"),
    },
    "session": {
        "id": _COUNTED,
        "code_sha256": _CODE,
        "household": _HOUSEHOLD,
        "member": seen("who signed in"),
        "signed_at_ms": seen("when, by their computer's clock"),
        "created_at_ms": seen("when, by the service's clock"),
        "expires_at_ms": seen("until when they stay signed in"),
    },
    "token": {
        "id": seen("which token"),
        "code_sha256": _CODE,
        "household": _HOUSEHOLD,
        "member": seen("whose it is"),
        "name": seen("the name they gave it, as they wrote it"),
        "scopes": seen("what it may do"),
        "created_at_ms": seen("when it was made"),
        "expires_at_ms": seen("until when it is good"),
    },
    "keyring": {
        "statement_sha256": seen("hash of the statement it came with"),
        "holder": seen("whose file it is"),
        "household": _HOUSEHOLD,
        "file": sealed("the household's keys, sealed to one person's own key"),
        "written_at_ms": seen("when it came"),
    },
    "claim": {
        "id": seen("which claim; its secret never comes here"),
        "household": _HOUSEHOLD,
        "created_at_ms": seen("when a doorbell was to be added"),
        "expires_at_ms": seen("until when it is good"),
    },
    "device": {
        "id": _DEVICE,
        "household": _HOUSEHOLD,
        "claim": seen("the claim it answered"),
        "tls_key": _PUBLIC_KEY,
        "manifest_key": _PUBLIC_KEY,
        "age_recipient": _PUBLIC_KEY,
        "mac": seen("vouches for the keys to the owner; says nothing to the service"),
        "certificate": seen("the doorbell's certificate"),
        "enrolled_at_ms": seen("when it was enrolled"),
    },
    "presence": {
        "device": _DEVICE,
        "boot": _BOOT,
        "connections": seen("how often it connected since it started"),
        "is_connected": seen("whether it is connected"),
        "earlier_boots": seen("its last eight starts"),
        "last_heard_at_ms": seen("when it was heard last"),
        "agent": seen("version of its program"),
        "health": seen("its last health message, readable: its fields are below"),
        "health_at_ms": seen("when that came"),
    },
    "device_command": {
        "device": _DEVICE,
        "counter": _COUNTED,
        "household": _HOUSEHOLD,
        "name": seen("what the owner told the doorbell to do"),
        "signed": _SIGNED,
        "received_at_ms": seen("when it came"),
        "expires_at_ms": seen("until when it is good"),
        "answered_at_ms": seen("when the doorbell answered"),
        "is_done": seen("whether it did it"),
        "reason": seen("why it did not"),
    },
    "event": {
        "device": _DEVICE,
        "id": _EVENT,
        "household": _HOUSEHOLD,
        "kind": _KIND,
        "alert": seen("how loudly it asks to be told"),
        "at_ms": seen("when it happened, by the doorbell's clock"),
        "clock_synced": _SYNCED,
        "received_at_ms": seen("when it came, by the service's clock"),
        "place": _COUNTED,
    },
    "clip_event": {"clip": _CLIP, "event": _EVENT, "device": _DEVICE},
    "clip": {
        "id": _CLIP,
        "device": _DEVICE,
        "household": _HOUSEHOLD,
        "kind": _KIND,
        "manifest": _SIGNED,
        "manifest_sha256": seen("hash of the manifest"),
        "seq": _COUNTED,
        "epoch": seen("which of the household's keys it is sealed to, as a number"),
        "started_at_ms": seen("when it begins"),
        "ended_at_ms": seen("when it ends"),
        "pre_roll_ms": seen("how much of it is from before the event"),
        "part": seen("which part of a long event"),
        "is_last": seen("whether it is the last part"),
        "is_truncated": seen("whether a power cut ended it"),
        "clock_synced": _SYNCED,
        "announced_at_ms": seen("when the service heard of it"),
        "stored_at_ms": seen("when all of it was stored"),
        "deleted_at_ms": seen("when it was deleted: what is left then for 400 days is this row"),
        "deletion_receipt": _SIGNED,
        "objects_deleted_at_ms": seen("when the store had nothing of it any more"),
    },
    "clip_object": {
        "clip": _CLIP,
        "object": _OBJECT,
        "length": seen("how many sealed bytes it has"),
        "sha256": _HASH_OF_SEALED,
        "envelope_length": seen("how many bytes its envelope has"),
        "envelope_sha256": _HASH_OF_SEALED,
        "stored_at_ms": seen("when it was stored"),
        "receipt": _SIGNED,
    },
    "clip_envelope": {
        "clip": _CLIP,
        "object": _OBJECT,
        "envelope": sealed("the key of one film, thumbnail or details, sealed to the household"),
        "written_at_ms": seen("when it came"),
    },
    "job": {
        "name": seen("which job of the service, or a clip that nobody can open; about nobody"),
        "passed_at_ms": seen("when it last came to its end, or since when that is found"),
    },
}

BODIES: Final[Mapping[str, Fields]] = {
    "Hello": {
        "v": _VERSION,
        "boot": _BOOT,
        "connections": seen("how often it connected since it started"),
        "agent": seen("version of its program"),
        "statement": seen("the newest statement it holds"),
        "twin": seen("version of its settings"),
    },
    "StatementHead": {"seq": _COUNTED, "sha256": seen("hash of that statement")},
    "Event": {
        "v": _VERSION,
        "event": _EVENT,
        "at": seen("when it happened, by the doorbell's clock"),
        "clock_synced": _SYNCED,
        "alert": seen("how loudly it asks to be told: now, digest or none"),
    },
    "Announcement": {
        "v": _VERSION,
        "manifest": _SIGNED,
        "envelopes": seen("which of the three envelopes there are"),
    },
    "Envelopes": {
        "file": sealed("the film's key, sealed to the household"),
        "thumb": sealed("the thumbnail's key, sealed to the household"),
        "details": sealed("the details' key, sealed to the household"),
    },
    "Health": {
        "v": _VERSION,
        "boot": _BOOT,
        "at": seen("when, by the doorbell's clock"),
        "clock_synced": _SYNCED,
        "uptime_s": seen("how long it is on"),
        "camera": seen("whether it watches, records, may not, or has failed"),
        "waiting_events": seen("events on its card that are not stored here"),
        "waiting_clips": seen("clips on its card that are not stored here"),
        "waiting_bytes": seen("their bytes"),
        "dropped_clips": seen("clips given up because its card was full"),
        "dropped_events": seen("events given up because its card was full"),
        "disk_free_bytes": seen("room on its card"),
    },
    "Status": {
        "v": _VERSION,
        "boot": _BOOT,
        "connections": seen("how often it connected since it started"),
        "online": seen("whether it is connected"),
    },
    "Ack": {
        "v": _VERSION,
        "events": seen("which events are stored"),
        "announced": seen("which clips are known"),
        "refused": seen("which clips are not taken, and why"),
        "receipts": seen("signed receipts of what is stored"),
        "deletions": seen("signed receipts of what was deleted"),
    },
    "RefusedClip": {"clip": _CLIP, "reason": seen("why it is not taken")},
    "Answer": {
        "v": _VERSION,
        "counter": seen("which command is answered"),
        "is_done": seen("whether it was done"),
        "reason": seen("why not"),
    },
    "Statements": {"v": _VERSION, "statements": seen("statements of the household, each signed")},
    "init": {"v": _VERSION, "chunk": seen("how many bytes a segment shall have")},
    "reply": {
        "v": _VERSION,
        "clip": _CLIP,
        "object": _OBJECT,
        "re": seen("which message it answers"),
        "offset": seen("which segment it answers"),
        "code": seen("yes, later or no"),
        "reason": seen("why"),
        "have": seen("which bytes have come"),
        "upto": seen("up to where all bytes have come"),
        "credit": seen("how many segments may be on their way"),
        "chunk": seen("how many bytes a segment has"),
        "retry_after_ms": seen("when to try again"),
    },
    "Signed": {
        "body": seen("the signed bytes: JSON, readable"),
        "sigs": seen("its signatures"),
    },
    "Signature": {"key": seen("hash of the key that signed"), "sig": seen("the signature")},
}

SIGNED: Final[Mapping[str, Fields]] = {
    "Manifest": {
        "v": _VERSION,
        "household": _HOUSEHOLD,
        "device": _DEVICE,
        "clip": _CLIP,
        "seq": _COUNTED,
        "prev": seen("hash of the manifest before"),
        "epoch": seen("which of the household's keys it is sealed to, as a number"),
        "recipient": _PUBLIC_KEY,
        "kind": _KIND,
        "events": seen("which events it shows"),
        "part": seen("which part of a long event"),
        "last": seen("whether it is the last part"),
        "pre_roll_ms": seen("how much of it is from before the event"),
        "start": seen("when it begins"),
        "end": seen("when it ends"),
        "clock_synced": _SYNCED,
        "truncated": seen("whether a power cut ended it"),
        "file": seen("the film's sizes and hashes"),
        "thumb": seen("the thumbnail's sizes and hashes"),
        "details": seen("the details' sizes and hashes"),
    },
    "ObjectFacts": {"envelope": seen("of the envelope"), "payload": seen("of the payload")},
    "EnvelopeFacts": {"length": seen("how many bytes it has"), "sha256": _HASH_OF_SEALED},
    "PayloadFacts": {"length": seen("how many sealed bytes it has"), "sha256": _HASH_OF_SEALED},
    "Statement": {
        "v": _VERSION,
        "household": _HOUSEHOLD,
        "seq": _COUNTED,
        "prev": seen("hash of the statement before"),
        "at": seen("when it was signed"),
        "roster": seen("the people of the household, by their keys"),
        "devices": seen("its doorbells, by their keys"),
        "epoch": seen("the household's key in use, its public half"),
        "recovery": seen("the keys that can give the household back"),
        "policy_hash": seen("hash of the consent policy in force"),
    },
    "Member": {
        "member": seen("which person: 128 random bits, no name"),
        "role": seen("owner or viewer"),
        "sign_key": _PUBLIC_KEY,
        "age_recipient": _PUBLIC_KEY,
        "from_epoch": seen("from which of the household's keys on they can open clips"),
    },
    "Device": {
        "id": _DEVICE,
        "tls_key": _PUBLIC_KEY,
        "manifest_key": _PUBLIC_KEY,
        "age_recipient": _PUBLIC_KEY,
        "state": seen("whether it is trusted"),
    },
    "Epoch": {
        "n": _COUNTED,
        "recipient": _PUBLIC_KEY,
        "not_after": seen("when a new key is due"),
    },
    "Recovery": {"sign_key": _PUBLIC_KEY, "age_recipient": _PUBLIC_KEY},
    "Receipt": {
        "v": _VERSION,
        "device": _DEVICE,
        "clip": _CLIP,
        "object": _OBJECT,
        "size": seen("how many sealed bytes are stored"),
        "sha256": _HASH_OF_SEALED,
    },
    "Deletion": {
        "v": _VERSION,
        "household": _HOUSEHOLD,
        "clip": _CLIP,
        "manifest": seen("hash of the manifest"),
        "at": seen("when it was deleted"),
    },
    "Command": {
        "v": _VERSION,
        "household": _HOUSEHOLD,
        "device": _DEVICE,
        "counter": _COUNTED,
        "at": seen("when it was signed"),
        "expires": seen("until when it is good"),
        "name": seen("what the doorbell shall do"),
        "clips": seen("with which clips"),
        "until": seen("or with all clips until when"),
    },
    "ConsentPolicy": {
        "v": _VERSION,
        "household": _HOUSEHOLD,
        "version": _COUNTED,
        "prev": seen("hash of the policy before"),
        "at": seen("when it was signed"),
        "in_force_at": seen("from when on it holds"),
        "agency_requests": seen("whether public questions may be shown to the household"),
        "agency_kinds": seen("of which kinds of agencies"),
        "emergency_requests": seen("whether emergency requests may be shown"),
        "show_my_name": seen("whether they would be asked for their name"),
        "owners_needed": seen("how many owners it takes to allow more"),
    },
}

KEYS: Final[Mapping[str, str]] = {
    "event_id": "which event",
    "clip_id": "which clip",
    "device": "which doorbell",
    "object": "film, thumbnail or details",
    "connection": "which of the service's own lines",
    "code": "what the other side answered",
    "command": "which command the broker refused",
    "error": "the broker's own words for it",
    "admitted": "how many doorbells",
    "dismissed": "how many doorbells",
    "for_s": "for how many seconds",
    "fact": "what went wrong, in words of our code",
    "reason": "why, in words of our code or of the machine",
    "messages": "how many messages",
    "most": "how many connections there may be",
    "cut": "how many connections, of all together",
    "times": "how often",
    "method": "GET, POST, …",
    "route": "the template of the address, `/v1/clips/{clip}`: no id, no query",
    "status": "of the answer",
    "ms": "how long it took",
    "exception": "where in our code it happened, and the error's own words",
    "job": "which job of the service; about nobody",
    "database": "main or vault",
    "kind": "the error's name in our code",
    "safe": "what is safe all the same, in words of our code",
    "do": "what the operator is asked to type",
    "backup_of_ms": "when the backup was made",
    "clips": "how many clips, of one pass",
    "events": "how many events, of one pass",
    "deletions_carried": "how many",
    "envelopes_dropped": "how many",
    "clips_buried": "how many",
    "clips_beyond_vault": "how many",
    "sessions_ended": "how many",
    "tokens_ended": "how many",
    "is_aside_read": "whether what was there before could be read",
    "counts of the sweep": "how many objects, envelopes and clips of which kind, of all together",
    "counts of ingest": "how often what happened since the start: see the metrics",
}

FACTS: Final[Mapping[str, str]] = {
    "service_started": "The service was started.",
    "service_stopped": "The service was stopped.",
    "ingest_connected": "A line to the broker stood.",
    "ingest_disconnected": "A line to the broker fell.",
    "ingest_stopped": "Ingest ended, with its counts.",
    "ingest_batch_put_off": "The database was away; nothing was acknowledged.",
    "ingest_batch_crashed": "Messages could not be handled.",
    "ingest_message_crashed": "A message could not be handled.",
    "ingest_tick_crashed": "A round of cleaning up failed.",
    "broker_unreachable": "The broker did not answer.",
    "broker_refused_ingest": "The broker did not let the service in.",
    "broker_refused_subscription": "The broker did not let the service hear doorbells.",
    "broker_refused_command": "The broker did not take who may speak.",
    "broker_answer_unknown": "The broker answered something else.",
    "broker_access_corrected": "The broker was told who may speak.",
    "change_not_brought": "A change of a household did not reach its doorbells at once.",
    "household_errand_crashed": "The same, for a mistake of ours.",
    "doorbell_banished": "A doorbell sent more than it may and was put out for a minute.",
    "ring_stored": "A ring was stored.",
    "motion_stored": "A motion was stored.",
    "object_store_unwell": "At the start the object store did not answer as it should.",
    "object_stored": "A sealed object was stored.",
    "object_not_stored": "The store did not take a sealed object; it comes again.",
    "object_quarantined": "A sealed object was not what its manifest says, and is refused.",
    "spool_write_failed": "The service's disk did not take a segment.",
    "storing_crashed": "A sealed object could not be stored, for a mistake of ours.",
    "clip_deleted": "An owner deleted a clip, or it was as old as its household keeps clips.",
    "clip_objects_deleted": "The store has nothing of a deleted clip any more.",
    "expired": "Clips and events that were old enough went.",
    "expiry_held": "The clock is not believed, so nothing goes for its age just now.",
    "expiry_goes_on": "It is believed again.",
    "job_put_off": "A job of the service waits for something that is away.",
    "job_crashed": "A job of the service failed, for a mistake of ours.",
    "swept": "Databases and store were compared.",
    "swept_and_missed_something": "They were compared, and something was missing.",
    "backup_made": "A backup was made.",
    "backup_failed": "A backup could not be made.",
    "database_restored": "The service began on a restored database.",
    "restore_settled": "Deletions were applied again to what was restored.",
    "deletions_forgotten": "Neither of two restored databases knows what was deleted since.",
    "vault_lacks_households": "What was restored lacks households' keys.",
    "databases_seen_in_part": "The databases were too large to look over at the start.",
    "download_ended": "A download ended before its time.",
    "download_given_up": "A reader was too slow and lost its place.",
    "connections_crowded": "Connections that asked nothing were closed, for there were too many.",
    "accept_failed": "A connection could not be taken: the machine gave nothing to take it with.",
    "request_answered": "A request was answered.",
}
