import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_shared.errors import BadMessageError
from doorstep_shared.fields import MAX_SAFE_INT, MAX_TIME_MS
from doorstep_shared.ids import draw_clip_id, draw_event_id
from doorstep_shared.signing import Kind, sign
from doorstep_shared.statements import MAX_EPOCH_MS
from doorstep_shared.wire import (
    MAX_ANNOUNCEMENT_BYTES,
    Ack,
    Alert,
    Announcement,
    Body,
    CameraState,
    Envelopes,
    Event,
    Health,
    Hello,
    RefusedClip,
    StatementHead,
    Statements,
    Status,
    decode_body,
)
from tests.people import FRONT_DOOR, NOW_MS, first_head, random_from

BOOT = "0123456789abcdef" * 2
EVENT = draw_event_id(NOW_MS, random_from("event"))
CLIP = draw_clip_id(NOW_MS, random_from("clip"))
SIGNED = sign(Kind.MANIFEST, {"a": 1}, FRONT_DOOR.sign)

EXAMPLES: list[Body] = [
    Hello(
        boot=BOOT,
        connections=1,
        agent="doorstep 0.1",
        statement=StatementHead(seq=0, sha256=first_head().root),
    ),
    Event(event=EVENT, at=NOW_MS, clock_synced=True, alert=Alert.NOW),
    Announcement(manifest=SIGNED, envelopes=Envelopes(file=b"age", thumb=b"t", details=None)),
    Health(
        boot=BOOT,
        at=NOW_MS,
        clock_synced=False,
        uptime_s=1,
        camera=CameraState.WATCHING,
        waiting_events=0,
        waiting_clips=1,
        waiting_bytes=2,
        dropped_clips=3,
        dropped_events=5,
        disk_free_bytes=4,
    ),
    Status(boot=BOOT, connections=2, online=False),
    Ack(
        events=(EVENT,),
        announced=(CLIP,),
        refused=(RefusedClip(clip=CLIP, reason="no"),),
        receipts=(SIGNED,),
    ),
    Statements(statements=(first_head().signed,)),
]


@pytest.mark.parametrize("body", EXAMPLES, ids=lambda b: type(b).__name__)
def test_a_body_comes_back_from_its_bytes(body: Body) -> None:
    assert decode_body(type(body), body.encode()) == body


def test_health_of_an_agent_that_does_not_count_dropped_events_is_read() -> None:
    (health,) = (body for body in EXAMPLES if isinstance(body, Health))
    older = json.loads(health.encode())
    del older["dropped_events"]
    read = decode_body(Health, json.dumps(older).encode())
    assert read == health.model_copy(update={"dropped_events": 0})


@pytest.mark.parametrize("body", EXAMPLES, ids=lambda b: type(b).__name__)
def test_an_unknown_field_is_passed_over(body: Body) -> None:
    later = json.loads(body.encode()) | {"invented_later": {"x": [1.5]}}
    assert decode_body(type(body), json.dumps(later).encode()) == body


@pytest.mark.parametrize("body", EXAMPLES, ids=lambda b: type(b).__name__)
def test_another_version_is_refused(body: Body) -> None:
    with pytest.raises(BadMessageError):
        decode_body(type(body), json.dumps(json.loads(body.encode()) | {"v": 2}).encode())


@pytest.mark.parametrize(
    "body", [b for b in EXAMPLES if isinstance(b, Event | Health)], ids=lambda b: type(b).__name__
)
def test_a_time_is_one_that_every_reader_has_a_date_for(body: Body) -> None:
    fields = json.loads(body.encode())
    decode_body(type(body), json.dumps(fields | {"at": MAX_TIME_MS}).encode())
    for no_date in (-1, MAX_TIME_MS + 1, MAX_SAFE_INT):
        with pytest.raises(BadMessageError):
            decode_body(type(body), json.dumps(fields | {"at": no_date}).encode())


def test_the_last_moment_has_a_date_in_every_time_zone_and_an_epoch_later() -> None:
    last = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=MAX_TIME_MS)
    assert last.isoformat(timespec="milliseconds") == "9998-12-31T23:59:59.999+00:00"
    epoch_later = last + timedelta(milliseconds=MAX_EPOCH_MS)
    assert epoch_later.astimezone(timezone(timedelta(hours=14))).year == 9999


def test_a_message_that_is_too_long_is_refused_unread() -> None:
    with pytest.raises(BadMessageError, match="too many"):
        decode_body(Announcement, bytes(MAX_ANNOUNCEMENT_BYTES + 1), limit_bytes=8192)


junk: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.sampled_from(EXAMPLES), st.data(), junk)
def test_a_field_of_another_kind_is_refused_or_means_the_same_kind(
    body: Body, data: st.DataObject, value: object
) -> None:
    fields = json.loads(body.encode())
    fields[data.draw(st.sampled_from(sorted(fields)))] = value
    try:
        again = decode_body(type(body), json.dumps(fields).encode())
    except BadMessageError:
        return
    assert decode_body(type(body), again.encode()) == again


@given(st.binary(max_size=100))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(BadMessageError):
        decode_body(Event, noise)
