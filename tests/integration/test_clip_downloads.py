"""Clips over HTTP, out of the real object store."""

import hashlib
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from doorstep_cloud.access.policy import Scope
from doorstep_cloud.clips.service import announce, object_key, record_stored
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.objects import ObjectStore
from doorstep_cloud.web.problems import MEDIA_TYPE
from doorstep_shared.ids import HouseholdId
from doorstep_shared.manifest import ObjectName
from tests.cloud_world import URL, House, app_over
from tests.people import NOW_MS, doorbell, epoch_identity, person
from tests.scripted_doorbell import Clip, make_clip
from tests.services import SeaweedFs, store_nowhere

FRONT = doorbell("front")
BACK = doorbell("back")
RECIPIENT = epoch_identity(1).recipient()
OWN = HouseholdId("h" * 26)
NEIGHBOURS = HouseholdId("n" * 26)
FILE = ObjectName.FILE


class Caller:
    """A client of the app, with one token."""

    def __init__(self, client: TestClient, token: str | None) -> None:
        self._client = client
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def get(self, path: str, **headers: str) -> "Answer":
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self._client.get(path, headers={**self._headers, **named})
        return Answer(answer.status_code, answer.content, dict(answer.headers))

    def head(self, path: str) -> "Answer":
        answer = self._client.head(path, headers=self._headers)
        return Answer(answer.status_code, answer.content, dict(answer.headers))


class Answer:
    """What came back."""

    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.status = status
        self.body = body
        self.headers = headers


@pytest.fixture
def client(databases: Databases, objects: SeaweedFs) -> Iterator[TestClient]:
    app = app_over(databases, objects.store, Hub(), download_limit=1)
    with TestClient(app, base_url=URL) as opened:
        yield opened


@pytest.fixture
def owner(client: TestClient, house: House) -> Caller:
    return Caller(client, house.token(Scope.CLIPS_READ))


def stored(
    databases: Databases, store: ObjectStore, seed: int = 0, household: HouseholdId = OWN
) -> Clip:
    """Return a clip whose objects are all stored."""
    bell = FRONT if household == OWN else BACK
    sizes = {FILE: 200_000, ObjectName.THUMB: 500}
    clip = make_clip(bell, household, RECIPIENT, seed=seed, sizes=sizes)
    for name, box in clip.boxes.items():
        digest = hashlib.sha256(box.payload).digest()
        store.put_if_absent(object_key(clip.id, name), box.payload, digest)
    announced(databases, clip)
    with databases.write() as unit:
        for name in clip.boxes:
            record_stored(unit, clip.id, name, b"receipt", NOW_MS)
        unit.commit()
    return clip


def announced(databases: Databases, clip: Clip) -> None:
    envelopes = {name: box.envelope for name, box in clip.boxes.items()}
    with databases.write() as unit:
        announce(unit, clip.signed, clip.manifest, envelopes, NOW_MS)
        unit.commit()


@pytest.fixture
def clip(databases: Databases, objects: SeaweedFs) -> Clip:
    return stored(databases, objects.store)


def whole(clip: Clip, name: ObjectName = FILE) -> bytes:
    return clip.boxes[name].envelope + clip.boxes[name].payload


def test_envelope_and_payload_come_as_one_age_file(owner: Caller, clip: Clip) -> None:
    for name in clip.boxes:
        answer = owner.get(f"/v1/clips/{clip.id}/{name}.age")
        assert answer.status == 200
        assert answer.body == whole(clip, name)
        assert answer.headers["content-length"] == str(len(whole(clip, name)))
        assert answer.headers["content-disposition"].endswith(f'"{clip.id}-{name}.age"')


@pytest.mark.parametrize(
    ("start", "end"), [(0, 9), (0, 199), (150, 300), (200, 200), (100_000, 180_000), (0, 199_999)]
)
def test_a_range_may_lie_across_both_halves(
    owner: Caller, clip: Clip, start: int, end: int
) -> None:
    answer = owner.get(f"/v1/clips/{clip.id}/file.age", range=f"bytes={start}-{end}")
    data = whole(clip)
    assert answer.status == 206
    assert answer.body == data[start : end + 1]
    assert answer.headers["content-range"] == f"bytes {start}-{end}/{len(data)}"


def test_the_parametrised_ranges_do_cross_the_edge(clip: Clip) -> None:
    assert 150 < len(clip.boxes[FILE].envelope) < 300


def test_a_range_without_a_byte_is_not_satisfiable(owner: Caller, clip: Clip) -> None:
    answer = owner.get(f"/v1/clips/{clip.id}/file.age", range="bytes=999999999-")
    assert answer.status == 416
    assert answer.headers["content-range"] == f"bytes */{len(whole(clip))}"
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert f"has {len(whole(clip))} bytes".encode() in answer.body


def test_who_has_it_already_is_sent_nothing(owner: Caller, clip: Clip) -> None:
    path = f"/v1/clips/{clip.id}/file.age"
    etag = owner.get(path).headers["etag"]
    again = owner.get(path, if_none_match=etag)
    assert (again.status, again.body) == (304, b"")
    assert owner.get(path, if_none_match='"other"').status == 200


def test_a_range_of_something_else_by_now_is_answered_with_the_whole(
    owner: Caller, clip: Clip
) -> None:
    path = f"/v1/clips/{clip.id}/file.age"
    assert owner.get(path, range="bytes=0-1", if_range='"other"').status == 200
    etag = owner.get(path).headers["etag"]
    assert owner.get(path, range="bytes=0-1", if_range=etag).status == 206


def test_the_tag_covers_both_halves(
    owner: Caller, clip: Clip, databases: Databases, objects: SeaweedFs
) -> None:
    other = stored(databases, objects.store, seed=1)
    tags = {
        owner.head(f"/v1/clips/{one.id}/{name}.age").headers["etag"]
        for one in (clip, other)
        for name in one.boxes
    }
    assert len(tags) == 4


def test_head_tells_the_size_and_sends_nothing(owner: Caller, clip: Clip) -> None:
    answer = owner.head(f"/v1/clips/{clip.id}/file.age")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(len(whole(clip)))
    assert answer.headers["accept-ranges"] == "bytes"


def test_latest_is_the_newest_clip_whose_file_is_stored(
    owner: Caller, databases: Databases, objects: SeaweedFs
) -> None:
    newer, _ = (stored(databases, objects.store, seed=seed) for seed in (5, 4))
    announced(databases, make_clip(FRONT, OWN, RECIPIENT, seed=9, sizes={FILE: 10}))
    assert owner.get("/v1/clips/latest/file.age").body == whole(newer)
    assert newer.id.encode() in owner.get("/v1/clips/latest").body


def test_before_the_first_clip_latest_says_so(owner: Caller) -> None:
    answer = owner.get("/v1/clips/latest/file.age")
    assert answer.status == 404
    assert b"no clip of this household is stored" in answer.body


def test_an_announced_clip_is_listed_and_not_sent(owner: Caller, databases: Databases) -> None:
    clip = make_clip(FRONT, OWN, RECIPIENT, sizes={FILE: 10})
    announced(databases, clip)
    assert b'"state":"announced"' in owner.get(f"/v1/clips/{clip.id}").body
    assert owner.get(f"/v1/clips/{clip.id}/file.age").status == 404
    assert owner.get(f"/v1/clips/{clip.id}/thumb.age").status == 404


def test_the_manifest_comes_as_its_doorbell_signed_it(owner: Caller, clip: Clip) -> None:
    answer = owner.get(f"/v1/clips/{clip.id}/manifest")
    assert (answer.status, answer.body) == (200, clip.signed.encode())


def test_another_households_clip_is_like_none(
    owner: Caller, databases: Databases, objects: SeaweedFs
) -> None:
    House(databases, person("neighbour"), HouseholdId("n" * 26))
    theirs = stored(databases, objects.store, household=HouseholdId("n" * 26))
    missing = make_clip(BACK, OWN, RECIPIENT, seed=77, sizes={FILE: 10})
    for path in ("", "/file.age", "/manifest"):
        answers = [owner.get(f"/v1/clips/{one.id}{path}") for one in (theirs, missing)]
        assert [answer.status for answer in answers] == [404, 404]
        assert answers[0].body == answers[1].body
    assert owner.head(f"/v1/clips/{theirs.id}/file.age").status == 404
    assert theirs.id.encode() not in owner.get("/v1/clips").body


def test_nobody_and_a_token_for_something_else_get_nothing(
    client: TestClient, house: House, clip: Clip
) -> None:
    weak = Caller(client, house.token(Scope.EVENTS_READ))
    for path in ("", "/file.age", "/manifest"):
        assert Caller(client, None).get(f"/v1/clips/{clip.id}{path}").status == 401
        assert weak.get(f"/v1/clips/{clip.id}{path}").status == 403
    assert weak.get("/v1/clips").status == 403
    assert weak.get("/v1/clips/latest/file.age").status == 403
    assert Caller(client, None).head(f"/v1/clips/{clip.id}/file.age").status == 401


def test_a_list_goes_on_where_its_page_ended(
    owner: Caller, databases: Databases, objects: SeaweedFs
) -> None:
    clips = [stored(databases, objects.store, seed=seed) for seed in (11, 12, 13)]
    first = owner.get("/v1/clips?limit=2&kind=ring")
    assert first.headers["link"].endswith('; rel="next"')
    address = first.headers["link"].split(">")[0].removeprefix("<")
    assert address.startswith(f"{URL}/v1/clips?")
    rest = owner.get(address)
    found = [clip for clip in reversed(clips) if clip.id.encode() in first.body]
    assert found == [clips[2], clips[1]]
    assert clips[0].id.encode() in rest.body
    assert b'"next":null' in rest.body


@pytest.mark.parametrize("query", ["colour=red", "limit=0", "cursor=x", "since=yesterday"])
def test_a_wrong_parameter_is_named(owner: Caller, query: str) -> None:
    answer = owner.get(f"/v1/clips?{query}")
    assert answer.status == 400
    assert query.split("=", maxsplit=1)[0].encode() in answer.body


def test_one_download_more_than_there_are_places_is_asked_to_come_back(
    client: TestClient, owner: Caller, clip: Clip
) -> None:
    path = f"/v1/clips/{clip.id}/file.age"
    places = client.app.state.download_places  # type: ignore[attr-defined]  # ours, not ASGI's
    with places.taken(NEIGHBOURS):
        answer = owner.get(path)
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
    # Every download gives its place back, whole, part or none.
    for _ in range(3):
        assert owner.get(path).status == 200
        assert owner.get(path, range="bytes=0-10").status == 206
        assert owner.get(path, range="bytes=999999999-").status == 416


def test_what_the_store_has_lost_is_not_found_and_keeps_no_place(
    owner: Caller, clip: Clip, objects: SeaweedFs
) -> None:
    objects.store.delete(object_key(clip.id, FILE))
    answers = [owner.get(f"/v1/clips/{clip.id}/file.age") for _ in range(5)]
    assert {answer.status for answer in answers} == {404}
    assert b"has lost this" in answers[0].body


def test_while_the_store_is_away_the_answer_says_so_and_keeps_no_place(
    databases: Databases, house: House, clip: Clip
) -> None:
    app = app_over(databases, store_nowhere(), Hub(), download_limit=1)
    with TestClient(app, base_url=URL) as opened:
        owner = Caller(opened, house.token(Scope.CLIPS_READ))
        answers = [owner.get(f"/v1/clips/{clip.id}/file.age") for _ in range(2)]
    assert [answer.status for answer in answers] == [503, 503]
    assert all(b"object store" in answer.body for answer in answers)
