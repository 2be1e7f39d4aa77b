"""Where an agent is put together: constructors, in order, and nothing else."""

import asyncio
import os
import random as chances
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import cv2
from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from doorstep_device.adapters.broker import BrokerAddress, PahoBroker
from doorstep_device.adapters.clock import SystemClock
from doorstep_device.adapters.disk import FolderDisk
from doorstep_device.agent import Agent, Brokers, Parts
from doorstep_device.commands import Commands
from doorstep_device.household import Membership
from doorstep_device.identity import (
    CA_PATH,
    CERTIFICATE_PATH,
    TLS_KEY_PATH,
    Enrolment,
    read_certificate_start,
    read_enrolment,
    read_keys,
)
from doorstep_device.outbox import Outbox, OutboxKeys
from doorstep_device.ports.camera import Camera
from doorstep_device.ports.clock import Clock
from doorstep_device.ports.disk import Disk
from doorstep_device.ports.panel import Panel
from doorstep_device.rules.motion import MotionRule, MotionSettings
from doorstep_device.rules.zones import EVERYWHERE, Zone, parse_zone
from doorstep_device.uplink import Boot
from doorstep_device.worker import Worker
from doorstep_shared.errors import RefusedError
from doorstep_shared.settings import wrong_settings
from doorstep_shared.signing import VerifyKey
from doorstep_shared.topics import down_filters

# No clock of a doorbell that runs this code is right before it was written. Set by hand at
# a release: a package knows no date of its own, and a file's date is that of an installing
# clock, which may be what is wrong. tests/unit/device/test_bootstrap.py holds it.
BUILT_AT: Final = datetime(2026, 11, 1, tzinfo=UTC)
MIB: Final = 1024 * 1024
PREFIX: Final = "DOORSTEP_DEVICE_"


class WrongSettingsError(RefusedError):
    """A setting is unknown or out of bounds."""


def _as_zone(value: object) -> object:
    return parse_zone(value) if isinstance(value, str) else value


class DeviceSettings(BaseSettings):
    """Settings of the agent, from the environment (``DOORSTEP_DEVICE_…``).

    Attributes:
        state_dir: Keys, statements and the outbox are below.
        pre_roll_s: Video kept from before an event.
        outbox_mib: Clips on the card take at most this much.
        zone: Where motion counts; the button counts everywhere.
        video: Its camera, as `--video` takes it; an address may hold a password.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    state_dir: Path = Path("/var/lib/doorstep")
    pre_roll_s: Annotated[float, Field(ge=2, le=30)] = 6.0
    outbox_mib: Annotated[int, Field(ge=64, le=1_000_000)] = 2048
    zone: Annotated[Zone, NoDecode, BeforeValidator(_as_zone)] = EVERYWHERE
    video: SecretStr | None = None


def read_settings(state_dir: Path | None = None) -> DeviceSettings:
    """Return the settings of this process.

    Args:
        state_dir: Instead of the one from the environment.

    Raises:
        WrongSettingsError: Naming one that is unknown or out of bounds.
    """
    known = {PREFIX + name.upper() for name in DeviceSettings.model_fields}
    # pydantic-settings forbids unknown names in a file, not in the environment.
    unknown = sorted({name for name in os.environ if name.startswith(PREFIX)} - known)
    if unknown:
        raise WrongSettingsError(
            f"there is no setting {', '.join(unknown)}",
            safe="Nothing was started.",
            do=f"use one of {', '.join(sorted(known))}",
        )
    try:
        return DeviceSettings() if state_dir is None else DeviceSettings(state_dir=state_dir)
    except ValidationError as error:
        fact, do = wrong_settings(DeviceSettings, PREFIX, error)
        raise WrongSettingsError(fact, safe="Nothing was started.", do=do) from error


def build_agent(
    *,
    settings: DeviceSettings,
    panel: Panel,
    make_camera: Callable[[], Camera] | None,
    clock: Clock,
    broker_address: tuple[str, int] | None = None,
    disk: Disk | None = None,
) -> Agent:
    """Return the agent of the enrolled doorbell in ``settings.state_dir``.

    To be called inside the event loop it will run on.

    Args:
        settings: Checked.
        panel: Button and light.
        make_camera: Returns a camera not started yet; called again after a
            failure. None for a doorbell without one.
        clock: Of camera and events.
        broker_address: Instead of the one from the enrolment.
        disk: Its card; instead of the plain folder ``settings.state_dir``.

    Raises:
        NotEnrolledError: It belongs to nobody yet.
        RefusedError, BadMessageError, TryLaterError: Its card cannot be read.
    """
    cv2.setNumThreads(1)  # predictable, and leaves the other cores to the encoder
    disk = disk or FolderDisk(settings.state_dir)
    keys, enrolment = read_keys(disk), read_enrolment(disk)
    valid_from = read_certificate_start(disk)
    address = _address(settings.state_dir, valid_from, enrolment, broker_address)
    boot = Boot(keys.public.device, secrets.token_hex(16), f"doorstep {version('doorstep')}")
    receipt_key = VerifyKey(enrolment.receipt_key)
    outbox = Outbox.open(
        disk,
        OutboxKeys(keys.public.device, keys.manifest, receipt_key),
        random=secrets.token_bytes,
        cap_bytes=settings.outbox_mib * MIB,
    )
    membership = Membership(disk, enrolment.root, keys.public)
    not_before_ms = int(address.floor.timestamp() * 1000)
    commands = Commands(disk, boot.device, membership, outbox, not_before_ms=not_before_ms)
    return Agent(
        Parts(
            boot=boot,
            clock=clock,
            network_clock=SystemClock(),
            events_worker=Worker(),
            worker=Worker(),
            outbox=outbox,
            membership=membership,
            commands=commands,
            brokers=_brokers(boot, address),
            panel=panel,
            make_camera=make_camera,
            rule=MotionRule(MotionSettings(zone=settings.zone)),
            pre_roll_s=settings.pre_roll_s,
            random=secrets.token_bytes,
            chance=chances.random,
        )
    )


def _brokers(boot: Boot, address: BrokerAddress) -> Brokers:
    loop = asyncio.get_running_loop()
    # Unguessable, and the same for the whole boot: the broker keeps a session of 30 s.
    client = f"{boot.device}.{{}}.{secrets.token_hex(16)}"
    control = PahoBroker(
        address,
        client_id=client.format("c"),
        filters=tuple(f for f in down_filters(boot.device) if not f.endswith("/fr")),
        loop=loop,
        will=boot.will,
    )
    bulk = PahoBroker(
        address,
        client_id=client.format("b"),
        filters=tuple(f for f in down_filters(boot.device) if f.endswith("/fr")),
        loop=loop,
    )
    return Brokers(control=control, bulk=bulk)


def _address(
    state_dir: Path,
    valid_from: datetime,
    enrolment: Enrolment,
    override: tuple[str, int] | None,
) -> BrokerAddress:
    host, port = override or (enrolment.broker_host, enrolment.broker_port)
    return BrokerAddress(
        host=host,
        port=port,
        ca=state_dir / CA_PATH,
        certificate=state_dir / CERTIFICATE_PATH,
        key=state_dir / TLS_KEY_PATH,
        floor=max(BUILT_AT, valid_from),
    )
