"""One clip's folder in the outbox, and what its ``clip.json`` says.

    outbox/{clip}/clip.json    state, envelopes, manifest, receipts; replaced whole
                  payload      the sealed video; while recording, with the two tail slots
                  thumb        the sealed thumbnail, if there is one
                  details      the sealed details, if there are any

A folder is removed by giving it a name that ends in ``.gone`` first: whatever a cut
leaves of it then is nobody's clip.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from doorstep_device.ports.disk import Disk, DiskFile
from doorstep_shared.errors import BadMessageError
from doorstep_shared.fields import (
    Counter,
    EventIdField,
    HouseholdIdField,
    Milliseconds,
    RecipientText,
)
from doorstep_shared.ids import ClipId
from doorstep_shared.manifest import MAX_EVENTS, ClipKind, Manifest, ObjectName, read_manifest
from doorstep_shared.signing import Signed
from doorstep_shared.wire import Envelopes

OUTBOX: Final = "outbox"
GONE: Final = ".gone"
UNREADABLE: Final = ".unreadable"

_FILE_OF: Final = {
    ObjectName.FILE: "payload",
    ObjectName.THUMB: "thumb",
    ObjectName.DETAILS: "details",
}


class ClipState(StrEnum):
    """What has become of a clip; the order is the only way through."""

    RECORDING = "recording"
    FINISHED = "finished"  # the manifest is signed; it waits for the service
    STORED = "stored"  # the service has a receipt for every object
    # Never written, and read as finished: the service's word, which nobody signed, once
    # made this of a clip.
    REFUSED = "refused"


class _Part(BaseModel):
    # Nobody signed this file, so a newer agent's further fields are passed over.
    model_config = ConfigDict(extra="ignore", frozen=True)


class Opening(_Part):
    """What is known of a clip from its first frame on, and its manifest will say.

    Attributes:
        household: Whose it is.
        epoch: Which of the household's keys it is sealed to.
        recipient: That key.
        kind: As of now: a ring may still come.
        events: As of now, at least one.
        part: Counts an episode's parts from 1.
        pre_roll_ms: How much of the clip lies before its first event.
        start: Wall time of its first frame, Unix milliseconds.
        clock_synced: Whether that clock was set from outside.
    """

    household: HouseholdIdField
    epoch: Annotated[Counter, Field(ge=1)]
    recipient: RecipientText
    kind: ClipKind
    events: Annotated[tuple[EventIdField, ...], Field(min_length=1, max_length=MAX_EVENTS)]
    part: Annotated[Counter, Field(ge=1)]
    pre_roll_ms: Annotated[int, Field(ge=0, le=60_000)]
    start: Milliseconds
    clock_synced: bool


class ClipRecord(_Part):
    """``clip.json``.

    Attributes:
        state: What has become of the clip.
        opening: As of the last change; the manifest repeats it.
        envelopes: Of the objects there are.
        manifest: From `ClipState.FINISHED` on.
        receipts: Of the objects that the service has stored.
        stored_at: When the last receipt came, Unix milliseconds.
        refusal: Went with `ClipState.REFUSED`.
    """

    v: Literal[1] = 1
    state: ClipState
    opening: Opening
    envelopes: Envelopes
    manifest: Signed | None = None
    receipts: dict[ObjectName, Signed] = Field(default_factory=dict)
    stored_at: Milliseconds | None = None
    refusal: Annotated[str, Field(max_length=200)] | None = None

    @property
    def signed(self) -> Signed:
        """Return the manifest of a finished clip.

        Raises:
            BadMessageError: There is none.
        """
        if self.manifest is None:
            raise BadMessageError("its clip.json holds no manifest")
        return self.manifest


class ClipFolder:
    """One clip's folder; every method may raise the disk's errors."""

    def __init__(self, disk: Disk, clip: ClipId) -> None:
        self.clip: Final = clip
        self.path: Final = f"{OUTBOX}/{clip}"
        self._disk: Final = disk

    def make(self, record: ClipRecord) -> DiskFile:
        """Make the folder with its record and an empty payload, durably; return the payload."""
        self._disk.make_dir(self.path)
        self.write_record(record)
        return self.open_object(ObjectName.FILE)

    def write_record(self, record: ClipRecord) -> None:
        """Replace ``clip.json``, durably."""
        self._disk.write_whole(self._record_path, record.model_dump_json().encode())

    def read_record(self) -> ClipRecord:
        """Return what ``clip.json`` says.

        Raises:
            BadMessageError: It does not follow version 1.
            PathMissingError: There is none.
        """
        try:
            record = ClipRecord.model_validate_json(self._disk.read(self._record_path))
        except ValidationError as error:
            raise BadMessageError("its clip.json is not one of version 1") from error
        if record.state is ClipState.REFUSED:
            return record.model_copy(update={"state": ClipState.FINISHED, "refusal": None})
        return record

    def read_manifest(self, record: ClipRecord) -> Manifest:
        """Return the manifest of a finished clip, once the objects it names are all there.

        Raises:
            BadMessageError: There is none, or an object is missing or too short.
        """
        manifest = read_manifest(record.signed)
        for name, facts in manifest.objects.items():
            if self.object_bytes(name) < facts.payload.length:
                raise BadMessageError(f"its {name.value} is missing or too short")
        return manifest

    def is_barely_begun(self) -> bool:
        """Return whether there is nothing but what precedes the first ``clip.json``."""
        return set(self._disk.list_dir(self.path)) <= {"clip.json.tmp"}

    def write_object(self, name: ObjectName, payload: bytes) -> None:
        """Keep a small object's payload, durably."""
        self._disk.write_whole(self._path_of(name), payload)

    def open_object(self, name: ObjectName) -> DiskFile:
        """Open an object's payload; the file is made if missing."""
        return self._disk.open(self._path_of(name))

    def object_bytes(self, name: ObjectName) -> int:
        """Return the length of an object's file; 0 if there is none."""
        if not self._disk.exists(self._path_of(name)):
            return 0
        with self.open_object(name) as file:
            return file.size()

    def cut_payload(self, size: int) -> None:
        """Let go of what lies behind a finished payload: the tail slots of its recording."""
        if self.object_bytes(ObjectName.FILE) > size:
            with self.open_object(ObjectName.FILE) as file:
                file.truncate(size)
                file.sync()

    def exists(self) -> bool:
        """Return whether the folder is there."""
        return self._disk.exists(self.path)

    def has_traces(self) -> bool:
        """Return whether anything of the clip is there, half removed or whole."""
        return self.exists() or self._disk.exists(self.path + GONE)

    def remove(self) -> None:
        """Remove the clip; after a cut it is there whole or not at all. Harmless when repeated."""
        if self.exists():
            self._disk.rename(self.path, self.path + GONE)
        if self._disk.exists(self.path + GONE):
            self._disk.remove_tree(self.path + GONE)

    @property
    def _record_path(self) -> str:
        return f"{self.path}/clip.json"

    def _path_of(self, name: ObjectName) -> str:
        return f"{self.path}/{_FILE_OF[name]}"
