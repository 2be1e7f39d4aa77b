"""The owner's side of a simulated household: founded, its doorbell added, its clips opened.

Everything goes through the library of the owner's own command, over HTTP, with the
owner's keys in a folder of their own.
"""

import secrets
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from doorstep_client import clips, listening
from doorstep_client.answers import Answer, NewToken
from doorstep_client.clips import ClipItem, EventItem, Filter
from doorstep_client.errors import ServiceUnreachableError
from doorstep_client.home import Home, write_private
from doorstep_client.household import Household, found
from doorstep_client.service import Service
from doorstep_device.adapters.disk import FolderDisk
from doorstep_device.adapters.service import post_enrolment
from doorstep_device.enrolment import enrol
from doorstep_device.identity import ENROLMENT_PATH
from doorstep_shared.errors import DoorstepError, RefusedError
from doorstep_shared.manifest import ClipKind, Manifest

TOKEN_SCOPES: Final = ("events:read", "clips:read", "keyring:read")
TOKEN_DAYS: Final = 90


@dataclass(frozen=True, slots=True)
class OpenedClip:
    """A clip fetched, checked against the household's chain, and opened.

    Attributes:
        item: As the service lists it.
        manifest: As the doorbell signed it.
        video: The MP4.
        opened_s: When it was open here, monotonic.
    """

    item: ClipItem
    manifest: Manifest
    video: bytes
    opened_s: float


class Owner:
    """One person with keys in ``folder`` and a household at a service.

    Attributes:
        home: The folder of keys.
    """

    def __init__(self, folder: Path) -> None:
        self.home: Final = Home(folder)

    @property
    def has_household(self) -> bool:
        """Whether the household is founded."""
        return self.home.has_account()

    def found_household(self, url: str, invite: str) -> None:
        """Make keys and found a household at ``url``, as `doorstep init` does."""
        found(self.home, url, invite, secrets.token_bytes)

    def move_to(self, url: str) -> None:
        """Follow the service to another address of this machine."""
        account = self.home.account()
        if account.url != url:
            self.home.save_account(replace(account, url=url))

    def make_token(self, file: Path) -> str:
        """Return an API token, kept in ``file`` (0600); the one there if it still works."""
        with self._household() as household:
            if file.exists() and _works(household, file.read_text().strip()):
                return file.read_text().strip()
            body = {"name": "this computer", "scopes": list(TOKEN_SCOPES), "days": TOKEN_DAYS}
            made = household.ask(lambda service: service.post("/v1/tokens", NewToken, body))
        write_private(file, f"{made.token}\n".encode())
        return made.token

    def has_doorbell(self, state: Path) -> bool:
        """Return whether the doorbell whose card is ``state`` is enrolled and listed."""
        with self._household() as household:
            return (state / ENROLMENT_PATH).exists() and not household.pending_claims()

    def add_doorbell(self, state: Path) -> str:
        """Enrol the doorbell whose card is ``state`` by a claim, and list it; return its id.

        A claim that an earlier call did not come to the end of is taken up again.

        Raises:
            DoorstepError: The service, the doorbell or the owner's own client says no.
        """
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._household() as household:
            unfinished = household.pending_claims()
            claim = unfinished[0] if unfinished else household.make_claim(secrets.token_bytes)
            enrol(FolderDisk(state), str(claim), post_enrolment, secrets.token_bytes)
            device = household.answer_to(claim)
            if device is None:
                raise RefusedError(
                    "the service has forgotten the doorbell that just answered",
                    do="try the same command again",
                )
            household.list_device(device, claim)
            return device.id

    def clips(self, limit: int = 50) -> list[ClipItem]:
        """Return the newest clips first."""
        with self._household() as household:
            return clips.list_clips(household, Filter(limit=limit))

    def events(self, kind: ClipKind | None = None, limit: int = 50) -> list[EventItem]:
        """Return the newest events first."""
        with self._household() as household:
            return clips.list_events(household, Filter(kind=kind, limit=limit))

    def open_clip(self, clip_id: str) -> OpenedClip:
        """Return a clip fetched, verified and opened."""
        with self._household() as household:
            item = clips.read_clip(household, clip_id)
            manifest = clips.check_clip(household, clip_id)
            video = clips.open_clip_object(household, manifest).data
            return OpenedClip(item, manifest, video, time.monotonic())

    def _household(self) -> Household:
        return Household(self.home)


@dataclass(frozen=True, slots=True)
class Heard:
    """An event as it reached a listener.

    Attributes:
        event: What the service told.
        heard_s: When, monotonic.
    """

    event: EventItem
    heard_s: float


class Listener:
    """The owner listening, as `doorstep listen` does; in a thread of its own.

    Attributes:
        heard: Events in the order of arrival.
    """

    def __init__(self, owner: Owner, on_event: Callable[[Heard], None]) -> None:
        self.heard: Final[list[Heard]] = []
        self._owner = owner
        self._on_event = on_event
        self._news = threading.Condition()
        self._is_open = threading.Event()
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._thread.start()

    def wait_until_open(self, timeout_s: float = 10) -> bool:
        """Return whether the service listens to us, at the latest after that long."""
        return self._is_open.wait(timeout_s)

    def end(self) -> None:
        """Stop listening as soon as the line is next heard of."""
        self._is_ending.set()

    def wait_for(self, event_ids: Collection[str], timeout_s: float) -> bool:
        """Return whether all these events are heard, at the latest after that long."""
        with self._news:
            return self._news.wait_for(
                lambda: set(event_ids) <= {one.event.id for one in self.heard}, timeout_s
            )

    def _listen(self) -> None:
        with Household(self._owner.home) as household:
            stream = listening.events(
                household, on_open=self._is_open.set, on_break=self._note_break, wait=self._pause
            )
            try:
                for event in stream:
                    heard = Heard(event, time.monotonic())
                    with self._news:
                        self.heard.append(heard)
                        self._news.notify_all()
                    self._on_event(heard)
            except (_EndedError, DoorstepError):
                # The edge of a thread: whoever waits for an event misses it and says so.
                return

    def _note_break(self, _error: ServiceUnreachableError, _pause_s: float) -> None:
        if self._is_ending.is_set():
            raise _EndedError

    def _pause(self, pause_s: float) -> None:
        if self._is_ending.wait(pause_s):
            raise _EndedError


class _EndedError(Exception):
    """The listener was told to end."""


def _works(household: Household, token: str) -> bool:
    """Return whether the service still takes ``token``."""
    try:
        with Service(household.account.url, token) as service:
            service.get("/v1/clips", Answer, limit=1)
    except RefusedError:
        return False
    return True
