"""Deleting, with the service killed after each thing it makes durable (docs/lifecycle.md).

A killed process leaves its files as they are: the service goes on with a copy of them.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from unittest.mock import patch

import pytest
from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from doorstep_cloud.clips.deleter import Deleter
from doorstep_cloud.clips.service import announce, object_key, record_stored
from doorstep_cloud.clips.tables import ClipRow, EnvelopeRow
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.store.databases import Databases
from doorstep_shared.deletions import Deletion, verify_deletion
from doorstep_shared.manifest import ObjectName
from doorstep_shared.signing import Signed
from tests.cast import bearer
from tests.cloud_world import RECEIPT_KEY, URL, House, app_over, open_empty
from tests.people import DAY_MS, HOUSEHOLD, NOW_MS, OWNER, doorbell, epoch_identity
from tests.scripted_doorbell import Clip, make_clip
from tests.shelf import Shelf

FRONT = doorbell("front")
RECIPIENT = epoch_identity(1).recipient()
SIZES = {ObjectName.FILE: 3000, ObjectName.THUMB: 200, ObjectName.DETAILS: 50}
LATER_MS = NOW_MS + DAY_MS + 1


class KilledError(Exception):
    """The process is gone."""


class Killer:
    """Kills the service once it has made so many things durable."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.done = 0

    def passed(self) -> None:
        self.done += 1
        if self.done == self.left:
            raise KilledError


@contextmanager
def killing(after: int) -> Iterator[Killer]:
    """Kill after each commit of a database, each cut of the log, each object deleted."""
    killer = Killer(after)
    commit, cut, delete = Session.commit, Databases.forget_deleted, Shelf.delete

    def and_die(call: object) -> object:
        def counted(*arguments: object) -> object:
            assert callable(call)
            result = call(*arguments)
            killer.passed()
            return result

        return counted

    with (
        patch.object(Session, "commit", and_die(commit)),
        patch.object(Databases, "forget_deleted", and_die(cut)),
        patch.object(Shelf, "delete", and_die(delete)),
    ):
        yield killer


@dataclass(frozen=True, slots=True)
class Answer:
    """What an owner heard."""

    status: int
    receipt: Signed | None

    @property
    def deletion(self) -> Deletion:
        assert self.receipt is not None
        return verify_deletion(self.receipt, RECEIPT_KEY.public)


class Service:
    """A service on the files in a folder."""

    def __init__(self, folder: Path, shelf: Shelf, session: str, *, now_ms: int = NOW_MS) -> None:
        self.folder = folder
        self.databases = Databases.open(folder)
        self.app: FastAPI = app_over(self.databases, shelf, Hub(), clock=lambda: now_ms)
        self._headers = bearer(session)

    @property
    def deleter(self) -> Deleter:
        found: Deleter = self.app.state.deleter
        return found

    def __enter__(self) -> Self:
        # As `run_all` does, before anybody is served.
        self.deleter.forget_envelopes()
        return self

    def __exit__(self, *_: object) -> None:
        self.databases.close()

    def delete(self, clip: Clip) -> Answer:
        with TestClient(self.app, base_url=URL, raise_server_exceptions=False) as client:
            answer = client.delete(f"/v1/clips/{clip.id}", headers=self._headers)
        if answer.status_code != 200:
            return Answer(answer.status_code, None)
        return Answer(200, Signed.model_validate_json(json.dumps(answer.json()["receipt"])))

    def shown(self) -> set[str]:
        """Return the clips that an owner sees, by list and each by its name."""
        with TestClient(self.app, base_url=URL) as client:
            listed = client.get("/v1/clips", headers=self._headers).json()["items"]
            for item in listed:
                for name in SIZES:
                    path = f"/v1/clips/{item['id']}/{name}.age"
                    assert client.head(path, headers=self._headers).status_code == 200
        return {item["id"] for item in listed}


def holds_envelope(folder: Path, clip: Clip) -> bool:
    """Return whether any file of a database holds a part of what opens ``clip``."""
    files = [path.read_bytes() for path in folder.iterdir() if ".db" in path.name]
    # The secret parts of an age header: the wrapped file key and the MAC, 40 letters each.
    parts = [
        part for box in clip.boxes.values() for part in box.envelope.split() if len(part) >= 40
    ]
    assert len(parts) >= 2 * len(clip.boxes)
    return any(part in file for part in parts for file in files)


@dataclass(frozen=True, slots=True)
class Before:
    """A service with stored clips, stopped; its files are to be copied."""

    folder: Path
    shelf: Shelf
    clips: list[Clip]
    session: str

    def copied(self, to: Path) -> tuple[Path, Shelf]:
        shutil.copytree(self.folder, to)
        shelf = Shelf()
        shelf.held = dict(self.shelf.held)
        return to, shelf


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Before:
    folder, shelf = tmp_path_factory.mktemp("before"), Shelf()
    with open_empty(folder) as databases:
        house = House(databases, OWNER, HOUSEHOLD)
        house.welcome(FRONT)
        clips = [
            make_clip(FRONT, HOUSEHOLD, RECIPIENT, seed=seed, sizes=SIZES) for seed in range(3)
        ]
        for clip in clips:
            keep(databases, shelf, clip)
        return Before(folder, shelf, clips, house.session())


def keep(databases: Databases, shelf: Shelf, clip: Clip) -> None:
    envelopes = {name: box.envelope for name, box in clip.boxes.items()}
    with databases.write() as unit:
        announce(unit, clip.signed, clip.manifest, envelopes, NOW_MS)
        unit.commit()
    for name, box in clip.boxes.items():
        digest = hashlib.sha256(box.payload).digest()
        shelf.put_if_absent(object_key(clip.id, name), box.payload, digest)
    with databases.write() as unit:
        for name in clip.boxes:
            record_stored(unit, clip.id, name, b"receipt", NOW_MS)
        unit.commit()


def steps_of(before: Before, folder: Path) -> int:
    """Return how many durable things a deletion does, its objects included."""
    copy, shelf = before.copied(folder)
    with killing(0) as killer, Service(copy, shelf, before.session) as service:
        begun = killer.done
        service.delete(before.clips[0])
        service.deleter.delete_objects()
        return killer.done - begun


def test_a_deletion_has_the_steps_of_its_page(before: Before, tmp_path: Path) -> None:
    # Two databases a unit: hidden, dropped, (the log,) signed; dropped, (the log,) three
    # objects, noted.
    assert steps_of(before, tmp_path / "all") == (2 + 2 + 1 + 2) + (2 + 1 + 3 + 2)


@pytest.mark.parametrize("after", range(1, 16))
def test_killed_after_any_step_a_clip_ends_deleted_once_and_is_never_half_there(
    before: Before, tmp_path: Path, after: int
) -> None:
    copy, shelf = before.copied(tmp_path / "first")
    clip, *others = before.clips
    with Service(copy, shelf, before.session) as service:
        with killing(after), capture_logs(), ExitStack() as stack:
            answer = service.delete(clip)
            if answer.status == 200:
                stack.enter_context(pytest.raises(KilledError))
                service.deleter.delete_objects()
        # The files as the kill left them: the log too, which a clean end would write back.
        killed = tmp_path / "killed"
        shutil.copytree(copy, killed)
    if answer.status == 200:
        assert not holds_envelope(killed, clip)

    with Service(killed, shelf, before.session, now_ms=NOW_MS + 1000) as service:
        # Hidden by its second commit, main's: before that nothing has happened.
        shown = service.shown()
        assert (clip.id in shown) is (after < 2)
        assert shown >= {other.id for other in others}
        assert holds_envelope(killed, clip) is (after < 2)
        again = service.delete(clip)
        assert again.deletion.clip == clip.id
        assert again.deletion.manifest == clip.signed.body_hash
        if answer.status == 200:
            assert again == answer
        assert service.delete(clip) == again
        service.deleter.delete_objects()
        assert {key.split("/")[1] for key in shelf.held} == {other.id for other in others}
        assert not holds_envelope(killed, clip)
        assert all(holds_envelope(killed, other) for other in others)
        vault = b"".join(path.read_bytes() for path in killed.glob("vault.db*"))
        assert clip.id.encode() not in vault
        assert others[0].id.encode() in vault
        assert service.shown() == {other.id for other in others}
        with service.databases.read() as unit:
            tombstones = unit.main.scalars(
                select(ClipRow).where(ClipRow.deleted_at_ms.is_not(None))
            ).all()
            assert [row.id for row in tombstones] == [clip.id]
            assert tombstones[0].manifest == b""
            assert len(unit.vault.scalars(select(EnvelopeRow)).all()) == 2 * len(SIZES)


def expire_all(deleter: Deleter) -> None:
    deleter.expire(HOUSEHOLD, 1, LATER_MS)
    deleter.forget_envelopes()
    deleter.delete_objects()


@pytest.mark.parametrize("after", range(1, 7))
def test_killed_while_many_expire_the_next_pass_ends_it(
    before: Before, tmp_path: Path, after: int
) -> None:
    copy, shelf = before.copied(tmp_path / "first")
    with Service(copy, shelf, before.session, now_ms=LATER_MS) as service:
        with killing(after), pytest.raises(KilledError):
            expire_all(service.deleter)
        shutil.copytree(copy, tmp_path / "killed")
    with Service(tmp_path / "killed", shelf, before.session, now_ms=LATER_MS) as service:
        assert len(service.shown()) == (3 if after < 2 else 0)
        expire_all(service.deleter)
        assert service.shown() == set()
        assert shelf.held == {}
        assert not any(holds_envelope(service.folder, clip) for clip in before.clips)


def test_without_cutting_the_log_the_envelope_would_be_in_it(
    before: Before, tmp_path: Path
) -> None:
    """The search above finds what it looks for."""
    copy, shelf = before.copied(tmp_path / "copy")
    clip = before.clips[0]
    with Service(copy, shelf, before.session) as service:
        with patch.object(Databases, "forget_deleted"):
            assert service.delete(clip).status == 200
        assert holds_envelope(copy, clip)
        service.databases.forget_deleted()
        assert not holds_envelope(copy, clip)
