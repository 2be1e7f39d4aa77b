"""Deleting and retention over HTTP: who hears what, and what the doorbell is told."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest

from doorstep_cloud.app.jobs import Expiry
from doorstep_cloud.clips.deleter import Deleter
from doorstep_cloud.clips.service import announce
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.errors import VaultBusyError
from doorstep_shared.deletions import Deletion, verify_deletion
from doorstep_shared.manifest import ObjectName
from doorstep_shared.signing import Signed
from tests.cast import OWN, STRANGER, Stage
from tests.people import DAY_MS, NOW_MS, OWNER, doorbell, epoch_identity
from tests.scripted_doorbell import Clip, make_clip

FRONT = doorbell("front")
RECIPIENT = epoch_identity(1).recipient()


def keep(home: Stage, seed: int = 0, **changes: object) -> Clip:
    clip = make_clip(FRONT, OWN, RECIPIENT, seed=seed, sizes={ObjectName.FILE: 50}, **changes)
    envelopes = {name: box.envelope for name, box in clip.boxes.items()}
    with home.databases.write() as unit:
        announce(unit, clip.signed, clip.manifest, envelopes, home.clock())
        unit.commit()
    return clip


def deletion_in(home: Stage, answer: dict[str, object]) -> Deletion:
    signed = Signed.model_validate_json(json.dumps(answer["receipt"]))
    return verify_deletion(signed, home.keys.receipt_key.public)


@contextmanager
def vault_being_read(databases: Databases) -> Iterator[None]:
    """Read an older state of the vault until the block ends."""
    with databases.read() as unit:
        unit.vault.connection().exec_driver_sql("SELECT count(*) FROM clip_envelope").fetchone()
        yield


def test_an_owner_deletes_a_clip_and_gets_the_same_receipt_as_often_as_they_ask(
    home: Stage,
) -> None:
    clip, headers = keep(home), home.session(OWNER)
    answer = home.client.delete(f"/v1/clips/{clip.id}", headers=headers)
    assert answer.status_code == 200
    assert deletion_in(home, answer.json()) == Deletion(
        household=OWN, clip=clip.id, manifest=clip.signed.body_hash, at=NOW_MS + 2
    )
    assert answer.json()["receipt_certificate"] == home.keys.receipt_certificate
    assert answer.json()["ca_certificate"] == home.keys.ca_certificate
    home.clock.at_ms += DAY_MS // 100
    assert home.client.delete(f"/v1/clips/{clip.id}", headers=headers).json() == answer.json()
    for path in ("", "/manifest", "/file.age"):
        assert home.client.get(f"/v1/clips/{clip.id}{path}", headers=headers).status_code == 404
    assert home.client.get("/v1/clips", headers=headers).json()["items"] == []
    stranger = home.client.delete(f"/v1/clips/{clip.id}", headers=home.session(STRANGER))
    assert stranger.status_code == 404


def test_latest_is_no_name_to_delete_by(home: Stage) -> None:
    keep(home)
    answer = home.client.delete("/v1/clips/latest", headers=home.session(OWNER))
    assert answer.status_code == 400


def test_while_the_vault_is_read_the_deletion_stands_and_only_the_receipt_waits(
    home: Stage,
) -> None:
    clip, headers = keep(home), home.session(OWNER)
    real = Databases.forget_deleted
    with (
        vault_being_read(home.databases),
        patch.object(Databases, "forget_deleted", lambda self: real(self, patience_s=0.2)),
    ):
        answer = home.client.delete(f"/v1/clips/{clip.id}", headers=headers)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert "The deletion stands" in answer.json()["detail"]
    assert home.client.get(f"/v1/clips/{clip.id}", headers=headers).status_code == 404
    again = home.client.delete(f"/v1/clips/{clip.id}", headers=headers)
    assert deletion_in(home, again.json()).clip == clip.id


def test_the_log_is_cut_as_soon_as_the_reader_is_gone(home: Stage) -> None:
    with vault_being_read(home.databases):
        keep(home)
        with pytest.raises(VaultBusyError):
            home.databases.forget_deleted(patience_s=0.1)
    home.databases.forget_deleted(patience_s=0.1)
    assert (home.folder / "vault.db-wal").stat().st_size == 0


def test_what_expired_is_signed_for_when_somebody_asks(home: Stage) -> None:
    clip, headers = keep(home), home.session(OWNER)
    home.clock.at_ms += 2 * DAY_MS
    deleter: Deleter = home.app.state.deleter
    assert deleter.expire(OWN, 1, home.clock()) == 1
    answer = home.client.delete(f"/v1/clips/{clip.id}", headers=home.session(OWNER))
    assert deletion_in(home, answer.json()).clip == clip.id
    del headers


def test_retention_is_two_weeks_until_it_is_set_and_says_what_would_go(home: Stage) -> None:
    keep(home, 0)
    keep(home, 1, start=NOW_MS - 5 * DAY_MS, end=NOW_MS - 5 * DAY_MS + 1000)
    headers = home.session(OWNER)

    def asked(query: str = "") -> object:
        return home.client.get(f"/v1/household/settings{query}", headers=headers).json()

    assert asked() == {"retention_days": 14, "clips_over": None}
    assert asked("?if_days=4") == {"retention_days": 14, "clips_over": 1}
    assert asked("?if_days=6") == {"retention_days": 14, "clips_over": 0}
    put = home.client.put("/v1/household/settings", json={"retention_days": 4}, headers=headers)
    assert put.json() == {"retention_days": 4, "clips_over": None}
    assert asked() == {"retention_days": 4, "clips_over": None}
    expiry = Expiry(home.databases, home.app.state.deleter, home.clock, lambda: 0.0)
    expiry.run()
    items = home.client.get("/v1/clips", headers=headers).json()["items"]
    assert len(items) == 1


@pytest.mark.parametrize("days", [0, 61, -1, 1.5, "7", True, None])
def test_retention_takes_1_to_60_days(home: Stage, days: object) -> None:
    headers = home.session(OWNER)
    answer = home.client.put(
        "/v1/household/settings", json={"retention_days": days}, headers=headers
    )
    assert answer.status_code == 422
    assert "a number from 1 to 60" in answer.json()["title"]
