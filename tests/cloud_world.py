"""Databases with households and doorbells in them, for tests of the service."""

import atexit
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Self

from fastapi import FastAPI

from doorstep_cloud.access.policy import Scope
from doorstep_cloud.app.factory import Parts, create_app
from doorstep_cloud.app.serving import create_server, listen_tcp
from doorstep_cloud.app.state import migrate
from doorstep_cloud.devices.authority import Authority, moment_of
from doorstep_cloud.devices.routes import Enroller
from doorstep_cloud.devices.tables import ClaimRow, DeviceRow
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.households import codes
from doorstep_cloud.households.chain import append_statement, found_household
from doorstep_cloud.households.invites import create_invite
from doorstep_cloud.households.principal import Speaker
from doorstep_cloud.households.sign_in import SESSION_MS
from doorstep_cloud.households.tables import SessionRow
from doorstep_cloud.households.tokens import Wish, create_token
from doorstep_cloud.store.databases import MAIN_FILE, VAULT_FILE, Databases
from doorstep_cloud.store.objects import ObjectStore
from doorstep_cloud.web.limits import PATIENCE, Patience
from doorstep_shared.ids import HouseholdId
from doorstep_shared.signing import SigningKey
from doorstep_shared.statements import (
    DeviceState,
    Epoch,
    Head,
    accept_next,
    accept_root,
    sign_statement,
)
from tests.people import NOW_MS, Doorbell, Person, first_statement, random_from, successor
from tests.services import wait_until

URL = "http://127.0.0.1:8080"
RECEIPT_KEY = SigningKey.generate(random_from("receipt"))
KEYRING_FILE = b"age-encryption.org/v1\n"


@cache
def migrated_folder() -> Path:
    """Return a migrated state folder, made once per process: to be copied, not to be used."""
    folder = Path(mkdtemp(prefix="doorstep-migrated-"))
    atexit.register(shutil.rmtree, folder)
    migrate(folder, ["127.0.0.1"], NOW_MS)
    return folder


@contextmanager
def open_empty(folder: Path) -> Iterator[Databases]:
    """Open both databases, migrated and without rows."""
    for name in (MAIN_FILE, VAULT_FILE):
        shutil.copy(migrated_folder() / name, folder)
    databases = Databases.open(folder)
    try:
        yield databases
    finally:
        databases.close()


class House:
    """A household in the database, and its owner's keys."""

    def __init__(self, databases: Databases, owner: Person, household: HouseholdId) -> None:
        self._databases = databases
        self.owner = owner
        first = sign_statement(first_statement(owner, household), owner.sign)
        self.head: Head = accept_root(first)
        with databases.write() as unit:
            invite = create_invite(unit, NOW_MS, random_from(f"invite/{household}"))
            unit.main.flush()
            files: dict[str, bytes] = {owner.member.member: KEYRING_FILE}
            found_household(unit, invite.code, first, files, NOW_MS)
            unit.commit()

    @property
    def id(self) -> HouseholdId:
        return self.head.household

    def enrol(self, bell: Doorbell) -> None:
        """Let a doorbell answer a claim; the household has not listed it yet."""
        claim = random_from(f"claim/{bell.device.id}")(16)
        with self._databases.write() as unit:
            unit.main.add(
                ClaimRow(
                    id=claim, household=self.id, created_at_ms=NOW_MS, expires_at_ms=NOW_MS + 1000
                )
            )
            unit.main.flush()
            unit.main.add(
                DeviceRow(
                    id=bell.device.id,
                    household=self.id,
                    claim=claim,
                    tls_key=bell.device.tls_key,
                    manifest_key=bell.device.manifest_key,
                    age_recipient=bell.device.age_recipient,
                    mac=bytes(32),
                    certificate="",
                    enrolled_at_ms=NOW_MS,
                )
            )
            unit.commit()

    def welcome(self, *bells: Doorbell) -> None:
        """Enrol these doorbells and list them."""
        for bell in bells:
            self.enrol(bell)
        self.list(*bells)

    def renew(self, epoch: Epoch) -> None:
        """Begin a new epoch, with a keyring for it."""
        self.state({self.owner.member.member: KEYRING_FILE}, epoch=epoch)

    def state(self, files: Mapping[str, bytes] | None = None, **changes: object) -> None:
        """Append a statement with ``changes``, signed by the owner."""
        signed = successor(self.head, self.owner, **changes)
        with self._databases.write() as unit:
            append_statement(unit, self.id, signed, files, NOW_MS)
            unit.commit()
        self.head = accept_next(self.head, signed)

    def list(self, *bells: Doorbell) -> None:
        """List these doorbells as active, beside those that are listed."""
        self.state(devices=(*self.head.statement.devices, *(bell.device for bell in bells)))

    def token(self, *scopes: Scope) -> str:
        """Return the code of a new token of the owner."""
        holder = Speaker(self.id, self.owner.member.member)
        wish = Wish(name="test", scopes=frozenset(scopes), days=90)
        with self._databases.write() as unit:
            _, code = create_token(unit, holder, wish, NOW_MS, secrets.token_bytes)
            unit.commit()
        return code

    def session(self) -> str:
        """Return the code of a new session of the owner."""
        code = codes.draw_code(codes.SESSION, secrets.token_bytes)
        with self._databases.write() as unit:
            row = SessionRow(
                code_sha256=codes.hash_code(code),
                household=self.id,
                member=self.owner.member.member,
                signed_at_ms=NOW_MS,
                created_at_ms=NOW_MS,
                expires_at_ms=NOW_MS + SESSION_MS,
            )
            unit.main.add(row)
            unit.commit()
        return code

    def revoke(self, bell: Doorbell) -> None:
        """Say that a listed doorbell is not trusted any more."""
        self.state(
            devices=tuple(
                device.model_copy(update={"state": DeviceState.REVOKED})
                if device.id == bell.device.id
                else device
                for device in self.head.statement.devices
            )
        )


def app_over(databases: Databases, objects: ObjectStore, hub: Hub, **parts: object) -> FastAPI:
    """Return the whole web app over these parts, at the time of all tests."""
    authority = Authority.create(moment_of(NOW_MS))
    values: dict[str, object] = {
        "databases": databases,
        "enroller": Enroller(authority, "", "", "127.0.0.1", 8883),
        "public_url": URL,
        "hub": hub,
        "objects": objects,
        "download_limit": 4,
        "receipt_key": RECEIPT_KEY,
        "clock": lambda: NOW_MS,
        **parts,
    }
    return create_app(Parts(**values))  # type: ignore[arg-type]  # each is of its type


class WebServer:
    """An app under the real server on a loopback port, in a thread."""

    def __init__(
        self,
        app: FastAPI,
        before_stop: Callable[[], None] = lambda: None,
        *,
        most: int | None = None,
        patience: Patience = PATIENCE,
    ) -> None:
        self._socket = listen_tcp("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = create_server(app, is_behind_proxy=False, most=most, patience=patience)
        self._before_stop = before_stop
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self._server.started, what="the web server's start")
        return self

    def __exit__(self, *_: object) -> None:
        self._before_stop()
        self._server.should_exit = True
        self._thread.join(20)
        self._socket.close()
