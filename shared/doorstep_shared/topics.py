"""Every MQTT topic, written once for both ends and for what the broker lets through.

``parse_topic`` is the inverse of ``str``. A topic is
``doorstep/v1/{shard}/{device}/`` and one of the leaves in `LEAVES`; a device's
certificate carries ``{shard}/{device}`` as its common name, so that the
broker's ``%u`` pins both levels.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import (
    DEVICE_ID_PATTERN,
    UUID7_PATTERN,
    ClipId,
    DeviceId,
    shard_of,
)
from doorstep_shared.manifest import ObjectName

ROOT: Final = "doorstep/v1"


class Way(Enum):
    """Who publishes: the doorbell (up) or the service (down)."""

    UP = "up"
    DOWN = "down"


class Leaf(Enum):
    """A plain topic under a device: its last levels and its way."""

    HELLO = ("ev/hello", Way.UP)
    RING = ("ev/ring", Way.UP)
    MOTION = ("ev/motion", Way.UP)
    CLIP = ("ev/clip", Way.UP)
    HEALTH = ("ev/health", Way.UP)
    STATUS = ("status", Way.UP)
    ACK = ("ack", Way.DOWN)
    STATEMENTS = ("statements", Way.DOWN)
    FILE_REPLY = ("fr", Way.DOWN)
    DELETE = ("cmd/delete", Way.DOWN)
    DELETE_ANSWER = ("ans/delete", Way.UP)

    def __init__(self, levels: str, way: Way) -> None:
        self.levels = levels
        self.way = way


class Command(Enum):
    """What a transfer topic asks, apart from the segments."""

    INIT = "init"
    FIN = "fin"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class DeviceTopic:
    """``…/{leaf}``: JSON, QoS 1, never retained."""

    device: DeviceId
    leaf: Leaf

    def __str__(self) -> str:
        """Return the topic as MQTT spells it."""
        return f"{device_root(self.device)}/{self.leaf.levels}"


@dataclass(frozen=True, slots=True)
class TransferTopic:
    """``…/f/{clip}/{object}/init|fin|abort``."""

    device: DeviceId
    clip: ClipId
    object: ObjectName
    command: Command

    def __str__(self) -> str:
        """Return the topic as MQTT spells it."""
        return f"{_transfer_root(self.device, self.clip, self.object)}/{self.command.value}"


@dataclass(frozen=True, slots=True)
class SegmentTopic:
    """``…/f/{clip}/{object}/{offset}``: raw bytes of the payload from ``offset``."""

    device: DeviceId
    clip: ClipId
    object: ObjectName
    offset: int

    def __str__(self) -> str:
        """Return the topic as MQTT spells it."""
        return f"{_transfer_root(self.device, self.clip, self.object)}/{self.offset}"


Topic: TypeAlias = DeviceTopic | TransferTopic | SegmentTopic

_ANY_DEVICE: Final = f"{ROOT}/+/+"

INGEST_CONTROL_FILTERS: Final = tuple(
    f"{_ANY_DEVICE}/{leaf.levels}" for leaf in Leaf if leaf.way is Way.UP
)
"""What ingest's first connection subscribes to: everything but transfers."""

INGEST_BULK_FILTERS: Final = (f"{_ANY_DEVICE}/f/#",)
"""What ingest's second connection subscribes to."""

INGEST_DOWN_FILTERS: Final = tuple(
    f"{_ANY_DEVICE}/{leaf.levels}" for leaf in Leaf if leaf.way is Way.DOWN
)
"""All that ingest publishes."""

_LEAVES = {leaf.levels: leaf for leaf in Leaf}
_COMMANDS = {command.value: command for command in Command}
_DEVICE = re.compile(
    rf"{ROOT}/(?P<shard>[0-9a-f]{{2}})/(?P<device>{DEVICE_ID_PATTERN.strip('^$')})/(?P<rest>.+)"
)
_TRANSFER = re.compile(
    rf"f/(?P<clip>{UUID7_PATTERN.strip('^$')})/(?P<object>file|thumb|details)/(?P<last>[a-z]+|\d{{1,8}})"
)


def device_root(device: DeviceId) -> str:
    """Return the levels in front of all of a device's topics."""
    return f"{ROOT}/{common_name(device)}"


def common_name(device: DeviceId) -> str:
    """Return the common name of a device's certificate: ``{shard}/{device}``."""
    return f"{shard_of(device)}/{device}"


def down_filters(device: DeviceId) -> tuple[str, ...]:
    """Return what a device subscribes to."""
    return tuple(str(DeviceTopic(device, leaf)) for leaf in Leaf if leaf.way is Way.DOWN)


def up_filters(device: DeviceId) -> tuple[str, ...]:
    """Return filters for all that a device publishes, and nothing else."""
    plain = [str(DeviceTopic(device, leaf)) for leaf in Leaf if leaf.way is Way.UP]
    transfers = [f"{device_root(device)}/f/+/{name.value}/+" for name in ObjectName]
    return (*plain, *transfers)


def parse_topic(text: str) -> Topic:
    """Return the topic spelled ``text``.

    Raises:
        BadMessageError: No topic of ours, or a shard that is not the device's.
    """
    match = _DEVICE.fullmatch(text)
    if match is None or match["shard"] != match["device"][:2]:
        raise BadMessageError("this is no topic of a doorbell")
    device = DeviceId(match["device"])
    if (leaf := _LEAVES.get(match["rest"])) is not None:
        return DeviceTopic(device, leaf)
    if (transfer := _TRANSFER.fullmatch(match["rest"])) is None:
        raise BadMessageError("this is no topic of a doorbell")
    clip, name = ClipId(transfer["clip"]), ObjectName(transfer["object"])
    if (command := _COMMANDS.get(transfer["last"])) is not None:
        return TransferTopic(device, clip, name, command)
    if not transfer["last"].isdecimal() or str(int(transfer["last"])) != transfer["last"]:
        raise BadMessageError("a segment's offset is a decimal without leading zeros")
    return SegmentTopic(device, clip, name, int(transfer["last"]))


def _transfer_root(device: DeviceId, clip: ClipId, name: ObjectName) -> str:
    return f"{device_root(device)}/f/{clip}/{name.value}"
