from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import DeviceId, draw_clip_id, draw_device_id
from doorstep_shared.manifest import ObjectName
from doorstep_shared.topics import (
    INGEST_BULK_FILTERS,
    INGEST_CONTROL_FILTERS,
    INGEST_DOWN_FILTERS,
    Command,
    DeviceTopic,
    Leaf,
    SegmentTopic,
    Topic,
    TransferTopic,
    common_name,
    down_filters,
    parse_topic,
    up_filters,
)
from tests.people import FRONT_DOOR, random_from

GOLDEN = Path(__file__).parents[2] / "golden" / "topics-v1.txt"
DEVICE = FRONT_DOOR.device.id
CLIP = draw_clip_id(1, random_from("clip"))

devices = st.binary(min_size=17, max_size=17).map(
    lambda b: draw_device_id(lambda n: b[:n] if n == 1 else b[1:])
)
clips = st.integers(0, 2**48 - 1).map(lambda ms: draw_clip_id(ms, random_from("topic")))
topics = st.one_of(
    st.builds(DeviceTopic, devices, st.sampled_from(Leaf)),
    st.builds(TransferTopic, devices, clips, st.sampled_from(ObjectName), st.sampled_from(Command)),
    st.builds(
        SegmentTopic, devices, clips, st.sampled_from(ObjectName), st.integers(0, 32 * 1024 * 1024)
    ),
)


@given(topics)
def test_a_topic_comes_back_from_its_text(topic: Topic) -> None:
    assert parse_topic(str(topic)) == topic


def test_topics_and_rights_of_version_1_stay() -> None:
    written = [str(DeviceTopic(DEVICE, leaf)) for leaf in Leaf]
    written += [str(TransferTopic(DEVICE, CLIP, ObjectName.FILE, c)) for c in Command]
    written += [str(SegmentTopic(DEVICE, CLIP, ObjectName.THUMB, 131072))]
    written += [*up_filters(DEVICE), *down_filters(DEVICE)]
    written += [*INGEST_CONTROL_FILTERS, *INGEST_BULK_FILTERS, *INGEST_DOWN_FILTERS]
    assert "\n".join(written) + "\n" == GOLDEN.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "doorstep/v1",
        f"doorstep/v2/{common_name(DEVICE)}/ack",
        f"doorstep/v1/zz/{DEVICE}/ack",
        f"doorstep/v1/{common_name(DEVICE)}/ev/secret",
        f"doorstep/v1/{common_name(DEVICE)}/ack/x",
        f"doorstep/v1/{common_name(DEVICE)}/f/{CLIP}/file/+",
        f"doorstep/v1/{common_name(DEVICE)}/f/{CLIP}/file/007",
        f"doorstep/v1/{common_name(DEVICE)}/f/{CLIP}/file/explode",
        f"doorstep/v1/{common_name(DEVICE)}/f/{CLIP}/audio/init",
        f"doorstep/v1/{common_name(DEVICE)}/f/{CLIP.upper()}/file/init",
        f"doorstep/v1/{common_name(DEVICE)}/ack\n",
    ],
)
def test_what_is_no_topic_of_ours_is_refused(text: str) -> None:
    with pytest.raises(BadMessageError):
        parse_topic(text)


def test_a_device_in_another_shard_is_refused() -> None:
    shard = "00" if not DEVICE.startswith("00") else "01"
    with pytest.raises(BadMessageError):
        parse_topic(f"doorstep/v1/{shard}/{DEVICE}/ack")


def test_a_doorbell_listens_to_what_comes_down_and_to_nothing_else() -> None:
    assert [parse_topic(t) for t in down_filters(DEVICE)] == [
        DeviceTopic(DeviceId(DEVICE), leaf)
        for leaf in (Leaf.ACK, Leaf.STATEMENTS, Leaf.FILE_REPLY, Leaf.DELETE)
    ]


def test_ingest_listens_to_bulk_on_a_connection_of_its_own() -> None:
    assert not any("/f/" in text for text in INGEST_CONTROL_FILTERS)
    assert all("/f/" in text for text in INGEST_BULK_FILTERS)
