"""HTTP: the list of events, and the stream of those that happen."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from doorstep_cloud.access.policy import Action
from doorstep_cloud.events.hub import Hub, Listener
from doorstep_cloud.events.paging import ListQuery, add_link
from doorstep_cloud.events.rules import EventItem
from doorstep_cloud.events.service import events_after, list_events
from doorstep_cloud.households.principal import (
    ActorDep,
    Clock,
    CodeDep,
    DatabasesDep,
    NowDep,
    PublicUrlDep,
    actor_of_code,
    authorize,
    household_of,
    speaker,
)
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.moments import Moment
from doorstep_shared.errors import DoorstepError
from doorstep_shared.fields import ClipIdField, DeviceIdField, EventIdField
from doorstep_shared.ids import EventId, HouseholdId
from doorstep_shared.manifest import ClipKind
from doorstep_shared.wire import Alert

Check = Callable[[], None]
"""Returns while the listener may go on, and raises a `DoorstepError` when not."""

router: Final = APIRouter(tags=["events"])

COMMENT_S: Final = 15.0
"""Silence much longer than this looks like a broken line to proxies and to clients."""

_PATH: Final = "/v1/events"


class EventAnswer(BaseModel):
    """A ring or a motion.

    Attributes:
        at: By the doorbell's clock.
        received_at: By the service's clock.
        is_missed: A ring that came too late to open the door.
        clip: The first clip that shows it.
    """

    id: EventIdField
    kind: ClipKind
    device: DeviceIdField
    at: Moment
    received_at: Moment
    clock_synced: bool
    alert: Alert
    is_missed: bool
    clip: ClipIdField | None


class EventList(BaseModel):
    """A page of events, the latest received first."""

    items: list[EventAnswer]
    next: str | None


@router.get(_PATH)
def show_events(
    *,
    databases: DatabasesDep,
    actor: ActorDep,
    now: NowDep,
    public_url: PublicUrlDep,
    query: Annotated[ListQuery, Query()],
    response: Response,
) -> EventList:
    """Return the household's events, the latest received first."""
    with databases.read() as unit:
        authorize(unit, actor, Action.READ_EVENTS, household_of(actor), now)
        page = list_events(unit, speaker(actor).household, query)
    address = add_link(response, query.link(public_url + _PATH, page.next))
    return EventList(items=[_answer(item) for item in page.items], next=address)


@router.get(f"{_PATH}/stream", response_class=StreamingResponse)
async def stream_events(
    request: Request,
    databases: DatabasesDep,
    code: CodeDep,
    last_event_id: Annotated[EventIdField | None, Header()] = None,
) -> Response:
    """Send each event as it happens, as server-sent events; with Last-Event-ID also those missed.

    Every 15 seconds it is asked again whose the caller's code is and whether they may
    listen: if so, a comment is sent, and if not, the line ends.
    """
    clock: Clock = request.app.state.clock
    hub: Hub = request.app.state.hub
    household = await run_in_threadpool(_check, databases, code, clock())
    # It listens before it looks back, so that nothing falls between the two.
    listener = hub.listen(household)
    try:
        missed = await run_in_threadpool(_missed, databases, listener, last_event_id)
    except BaseException:
        listener.close()
        raise

    def still_may() -> None:
        _check(databases, code, clock())

    return EventStream(listener, missed, still_may)


class EventStream(StreamingResponse):
    """An answer that goes on; its listener is closed however it ends."""

    def __init__(self, listener: Listener, missed: Sequence[EventItem], check: Check) -> None:
        headers = {"X-Accel-Buffering": "no"}
        super().__init__(
            _frames(listener, missed, check), media_type="text/event-stream", headers=headers
        )
        self._listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until either side ends it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._listener.close()


async def _frames(
    listener: Listener, missed: Sequence[EventItem], check: Check
) -> AsyncIterator[str]:
    yield ": listening\n\n"
    told = set()
    for item in missed:
        told.add(item.id)
        yield _frame(item)
    due = time.monotonic() + COMMENT_S
    while True:
        try:
            item_now = await listener.next(due - time.monotonic())
        except TimeoutError:
            due = time.monotonic() + COMMENT_S
            try:
                await run_in_threadpool(check)
            except DoorstepError:
                return
            yield ":\n\n"
            continue
        if item_now is None:
            return
        if item_now.id not in told:
            yield _frame(item_now)


def _check(databases: Databases, code: str, now: int) -> HouseholdId:
    """Return whose events the holder of ``code`` may hear at ``now``."""
    with databases.read() as unit:
        actor = actor_of_code(unit, code, now)
        authorize(unit, actor, Action.READ_EVENTS, household_of(actor), now)
    return speaker(actor).household


def _missed(databases: Databases, listener: Listener, last: EventId | None) -> Sequence[EventItem]:
    if last is None:
        return ()
    with databases.read() as unit:
        return events_after(unit, listener.household, last)


def _frame(item: EventItem) -> str:
    return f"id: {item.id}\nevent: {item.kind}\ndata: {_answer(item).model_dump_json()}\n\n"


def _answer(item: EventItem) -> EventAnswer:
    return EventAnswer(
        id=item.id,
        kind=item.kind,
        device=item.device,
        at=item.at_ms,
        received_at=item.received_at_ms,
        clock_synced=item.clock_synced,
        alert=item.alert,
        is_missed=item.is_missed,
        clip=item.clip,
    )
