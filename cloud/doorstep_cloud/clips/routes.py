"""HTTP: the list of clips, each clip, its sealed objects and its manifest."""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import BaseModel

from doorstep_cloud.access.policy import Action, Actor, Resource
from doorstep_cloud.clips.downloads import Download, DownloadPlaces
from doorstep_cloud.clips.rules import (
    Span,
    is_range_wanted,
    is_unchanged,
    parse_range,
)
from doorstep_cloud.clips.service import (
    ClipItem,
    SealedObject,
    find_sealed,
    household_of_clip,
    latest_stored,
    list_clips,
    read_clip,
    read_manifest_bytes,
)
from doorstep_cloud.events.paging import ListQuery, add_link
from doorstep_cloud.households.principal import (
    ActorDep,
    DatabasesDep,
    NowDep,
    PublicUrlDep,
    authorize,
    household_of,
    speaker,
)
from doorstep_cloud.store.databases import Unit
from doorstep_cloud.store.errors import NotFoundError
from doorstep_cloud.store.moments import Moment
from doorstep_cloud.store.objects import ObjectStore
from doorstep_shared.fields import ClipIdField, DeviceIdField, EventIdField
from doorstep_shared.ids import UUID7_PATTERN, ClipId
from doorstep_shared.manifest import ClipKind, ObjectName

router: Final = APIRouter(tags=["clips"])

LATEST: Final = "latest"

_PATH: Final = "/v1/clips"

# True after a deletion too: of a clip that is deleted, nothing waits.
_UNDELIVERED: Final = "What a doorbell has recorded and not yet delivered waits on its card."

_ClipName = Annotated[
    str,
    Path(
        pattern=f"^{LATEST}$|{UUID7_PATTERN}",
        description="A clip's id, or `latest`: the newest whose file is stored",
    ),
]
_ObjectPath = Annotated[ObjectName, Path(description="The video, its thumbnail, or the details")]


class ObjectAnswer(BaseModel):
    """One sealed object of a clip.

    Attributes:
        size_bytes: Of the whole age file.
    """

    size_bytes: int
    is_stored: bool


class ObjectsAnswer(BaseModel):
    """A clip's sealed objects; null where it has none."""

    file: ObjectAnswer | None
    thumb: ObjectAnswer | None
    details: ObjectAnswer | None


class ClipAnswer(BaseModel):
    """A sealed clip: what its doorbell says of it openly.

    Attributes:
        started_at: Of the first frame, by the doorbell's clock.
        part: Counts the parts of a long event from 1.
        epoch: Which of the household's keys opens it.
        state: Whether every object is stored.
    """

    id: ClipIdField
    device: DeviceIdField
    kind: ClipKind
    events: list[EventIdField]
    started_at: Moment
    ended_at: Moment
    duration_s: float
    pre_roll_s: float
    part: int
    is_last: bool
    is_truncated: bool
    clock_synced: bool
    epoch: int
    state: Literal["announced", "stored"]
    stored_at: Moment | None
    objects: ObjectsAnswer


class ClipList(BaseModel):
    """A page of clips, the latest begun first."""

    items: list[ClipAnswer]
    next: str | None


def object_store(request: Request) -> ObjectStore:
    """Return the store this app was composed with."""
    store: ObjectStore = request.app.state.objects
    return store


def download_places(request: Request) -> DownloadPlaces:
    """Return the places for downloads of this app."""
    places: DownloadPlaces = request.app.state.download_places
    return places


@router.get(_PATH)
def show_clips(
    *,
    databases: DatabasesDep,
    actor: ActorDep,
    now: NowDep,
    public_url: PublicUrlDep,
    query: Annotated[ListQuery, Query()],
    response: Response,
) -> ClipList:
    """Return the household's clips, the latest begun first."""
    with databases.read() as unit:
        authorize(unit, actor, Action.READ_CLIP_LIST, household_of(actor), now)
        page = list_clips(unit, speaker(actor).household, query)
    address = add_link(response, query.link(public_url + _PATH, page.next))
    return ClipList(items=[_answer(item) for item in page.items], next=address)


@router.get(_PATH + "/{clip}")
def show_clip(databases: DatabasesDep, actor: ActorDep, now: NowDep, clip: _ClipName) -> ClipAnswer:
    """Return one clip."""
    with databases.read() as unit:
        item = read_clip(unit, _allowed(unit, actor, Action.READ_CLIP_LIST, clip, now))
    return _answer(item)


@router.get(_PATH + "/{clip}/manifest", response_class=Response)
def show_manifest(
    databases: DatabasesDep, actor: ActorDep, now: NowDep, clip: _ClipName
) -> Response:
    """Return the doorbell's signed manifest, byte for byte as it came."""
    with databases.read() as unit:
        found = _allowed(unit, actor, Action.READ_MANIFEST, clip, now)
        manifest = read_manifest_bytes(unit, found)
    return Response(manifest, media_type="application/json")


class Wanted:
    """What the caller has already and which bytes they want, as headers say it."""

    def __init__(
        self,
        range_: Annotated[str | None, Header(alias="Range")] = None,
        if_range: Annotated[str | None, Header()] = None,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> None:
        self._range = range_
        self._if_range = if_range
        self._if_none_match = if_none_match

    def has(self, etag: str) -> bool:
        """Return whether they have these very bytes."""
        return is_unchanged(self._if_none_match, etag)

    def span(self, sealed: SealedObject) -> Span | None:
        """Return the range they want; None for the whole."""
        if not is_range_wanted(self._if_range, sealed.etag):
            return None
        return parse_range(self._range, sealed.size_bytes)


@router.get(_PATH + "/{clip}/{name}.age", response_class=Response)
def download(
    *,
    databases: DatabasesDep,
    actor: ActorDep,
    now: NowDep,
    clip: _ClipName,
    name: _ObjectPath,
    wanted: Annotated[Wanted, Depends()],
    store: Annotated[ObjectStore, Depends(object_store)],
    places: Annotated[DownloadPlaces, Depends(download_places)],
) -> Response:
    """Return a sealed object as an ordinary age file; one range of it, if asked for."""
    with databases.read() as unit:
        found = _allowed(unit, actor, Action.READ_CLIP_OBJECT, clip, now)
        sealed = _sealed(unit, found, name)
    headers = _headers(found, name, sealed)
    if wanted.has(sealed.etag):
        return Response(status_code=304, headers=headers)
    span = wanted.span(sealed)

    def is_there() -> bool:
        with databases.read() as unit:
            return household_of_clip(unit, found) is not None

    return Download(
        store,
        places,
        sealed,
        clip=found,
        is_there=is_there,
        household=speaker(actor).household,
        span=span,
        headers=headers,
    )


@router.head(_PATH + "/{clip}/{name}.age", include_in_schema=False)
def measure(
    databases: DatabasesDep, actor: ActorDep, now: NowDep, clip: _ClipName, name: _ObjectPath
) -> Response:
    """Return the headers of the whole age file."""
    with databases.read() as unit:
        found = _allowed(unit, actor, Action.READ_CLIP_OBJECT, clip, now)
        sealed = _sealed(unit, found, name)
    headers = {
        **_headers(found, name, sealed),
        "Content-Length": str(sealed.size_bytes),
        "Content-Type": "application/octet-stream",
    }
    return Response(headers=headers)


def _allowed(unit: Unit, actor: Actor, action: Action, clip: str, now: int) -> ClipId:
    """Return the clip's id if the actor may do ``action`` to it.

    Raises:
        NotFoundError: There is none, or none of theirs.
        NotSignedInError, NotAllowedError: As `authorize`.
    """
    if clip != LATEST:
        resource = Resource(household_of_clip(unit, ClipId(clip)))
        authorize(unit, actor, action, resource, now)
        return ClipId(clip)
    authorize(unit, actor, action, household_of(actor), now)
    latest = latest_stored(unit, speaker(actor).household)
    if latest is None:
        raise NotFoundError(
            "no clip of this household is stored",
            safe=_UNDELIVERED,
            do="doorstep clip list        (shows what is on its way)",
        )
    return latest


def _sealed(unit: Unit, clip: ClipId, name: ObjectName) -> SealedObject:
    sealed = find_sealed(unit, clip, name)
    if sealed is None:
        raise NotFoundError(
            f"the {name} of this clip is not stored, or it has none",
            safe=_UNDELIVERED,
            do="doorstep clip list        (shows what is on its way)",
        )
    return sealed


def _headers(clip: ClipId, name: ObjectName, sealed: SealedObject) -> dict[str, str]:
    return {
        "Accept-Ranges": "bytes",
        "ETag": sealed.etag,
        "Content-Disposition": f'attachment; filename="{clip}-{name}.age"',
    }


def _answer(item: ClipItem) -> ClipAnswer:
    objects = {
        name.value: None
        if (found := item.objects.get(name)) is None
        else ObjectAnswer(size_bytes=found.size_bytes, is_stored=found.is_stored)
        for name in ObjectName
    }
    return ClipAnswer(
        id=item.id,
        device=item.device,
        kind=item.kind,
        events=list(item.events),
        started_at=item.started_at_ms,
        ended_at=item.ended_at_ms,
        duration_s=(item.ended_at_ms - item.started_at_ms) / 1000,
        pre_roll_s=item.pre_roll_ms / 1000,
        part=item.part,
        is_last=item.is_last,
        is_truncated=item.is_truncated,
        clock_synced=item.clock_synced,
        epoch=item.epoch,
        state="announced" if item.stored_at_ms is None else "stored",
        stored_at=item.stored_at_ms,
        objects=ObjectsAnswer(**objects),
    )
