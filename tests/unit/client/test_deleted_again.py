"""A service that forgot a deletion with its databases is told of it by who holds the receipt."""

from datetime import UTC, datetime
from unittest.mock import patch

import pytest
from sqlalchemy import delete

from doorstep_client import deletion
from doorstep_client.deletion import delete_clip
from doorstep_client.home import Home
from doorstep_client.household import Household, now_ms
from doorstep_cloud.clips.service import announce, household_of_clip
from doorstep_cloud.clips.tables import ClipRow
from doorstep_cloud.devices.authority import Authority, to_pem
from doorstep_shared.manifest import ObjectName
from tests.cast import Stage
from tests.people import DAY_MS, doorbell, epoch_identity
from tests.scripted_doorbell import Clip, make_clip
from tests.unit.client.conftest import Line, Type


@pytest.fixture(autouse=True)
def today(service: Stage) -> None:
    service.clock.at_ms = now_ms()


def keep(service: Stage, household: Household, seed: int) -> Clip:
    clip = make_clip(
        doorbell("front"),
        household.account.household,
        epoch_identity(1).recipient(),
        seed=seed,
        sizes={ObjectName.FILE: 50},
    )
    announce_again(service, clip)
    return clip


def announce_again(service: Stage, clip: Clip) -> None:
    envelopes = {name: box.envelope for name, box in clip.boxes.items()}
    with service.databases.write() as unit:
        announce(unit, clip.signed, clip.manifest, envelopes, service.clock())
        unit.commit()


def forget_deletion(service: Stage, clip: Clip) -> None:
    """Let the service's databases be as they were before the clip was deleted."""
    with service.databases.write() as unit:
        unit.main.execute(delete(ClipRow).where(ClipRow.id == clip.id))
        unit.commit()
    announce_again(service, clip)


def is_there(service: Stage, clip: Clip) -> bool:
    with service.databases.read() as unit:
        return household_of_clip(unit, clip.id) is not None


def test_status_deletes_again_what_this_computer_has_receipts_for_and_says_so(
    typed: Type, household: Household, service: Stage, home: Home, line: Line
) -> None:
    back, gone, kept = (keep(service, household, seed) for seed in range(3))
    for clip in (back, gone):
        delete_clip(household, clip.id)
    forget_deletion(service, back)
    line.asked.clear()
    ended = typed("status")
    assert ended.code == 0, ended.err
    assert "has deleted it once more, clips: 1." in ended.err
    assert [is_there(service, clip) for clip in (back, gone, kept)] == [False, False, True]
    assert [asked for asked in line.asked if asked.startswith("DELETE")] == [
        f"DELETE /v1/clips/{back.id}"
    ]
    assert len(home.deletions()) == 3
    assert typed("status").err == ""


def test_without_receipts_or_with_old_ones_alone_no_clips_are_looked_for(
    typed: Type, household: Household, service: Stage, line: Line
) -> None:
    clip = keep(service, household, 0)
    assert typed("status").err == ""
    delete_clip(household, clip.id)
    with patch.object(deletion, "now_ms", lambda: now_ms() + 63 * DAY_MS):
        assert typed("status").err == ""
    assert "GET /v1/clips" not in line.asked


def test_a_receipt_that_was_torn_or_is_of_a_later_version_is_in_nobodys_way(
    typed: Type, household: Household, service: Stage, home: Home
) -> None:
    clip = keep(service, household, 0)
    delete_clip(household, clip.id)
    file = home.folder / "deletions.jsonl"
    (receipt,) = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"{}\n" + receipt + receipt[:40])
    forget_deletion(service, clip)
    assert "clips: 1." in typed("status").err
    assert not is_there(service, clip)


def test_what_cannot_be_deleted_again_is_told_and_the_rest_of_status_goes_on(
    typed: Type, household: Household, service: Stage, home: Home
) -> None:
    clip = keep(service, household, 0)
    delete_clip(household, clip.id)
    forget_deletion(service, clip)
    other = Authority.create(datetime.now(tz=UTC))
    (home.folder / "service-ca.pem").write_text(to_pem(other.certificate))
    ended = typed("status")
    assert ended.code == 0
    assert f"shows clip {clip.id} again" in ended.err
    assert "certified by another service" in ended.err
    assert "its history of" in ended.out
