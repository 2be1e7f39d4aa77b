"""The writer of one clip: fragments in, a sealed payload on the disk, complete at every tick."""

from collections.abc import Iterable
from typing import Final

from doorstep_device.clip_folder import ClipFolder, ClipRecord, ClipState, Opening
from doorstep_shared.age_keys import Recipient
from doorstep_shared.ids import ClipId, EventId, Random
from doorstep_shared.manifest import ClipKind
from doorstep_shared.seal import PAYLOAD_NONCE_BYTES, FileKey, seal_envelope
from doorstep_shared.tail import MAX_SLOT_BYTES, Finished, RecordingCipher, Write
from doorstep_shared.wire import Envelopes


class ClipWriter:
    """A clip that is being recorded, in the outbox that began it.

    Its file key lives in this object and nowhere else. After an error of the disk it is of
    no more use.

    Attributes:
        folder: The clip's.
        file: Its payload, open.
        record: As in ``clip.json``.
    """

    def __init__(self, folder: ClipFolder, opening: Opening, random: Random) -> None:
        """Make the folder, durably. The payload holds nothing before the first `tick`."""
        file_key = FileKey.draw(random)
        envelope = seal_envelope(file_key, [Recipient.parse(opening.recipient)], random)
        self._cipher: Final = RecordingCipher(file_key, random(PAYLOAD_NONCE_BYTES))
        self.record = ClipRecord(
            state=ClipState.RECORDING, opening=opening, envelopes=Envelopes(file=envelope)
        )
        self.folder: Final = folder
        self.file: Final = folder.make(self.record)

    @property
    def clip(self) -> ClipId:
        """Which clip it is."""
        return self.folder.clip

    @property
    def kind(self) -> ClipKind:
        """What kind it is so far."""
        return self.record.opening.kind

    @property
    def payload_bytes(self) -> int:
        """Length of the payload as of the last tick."""
        return self._cipher.payload_bytes

    @property
    def disk_bytes(self) -> int:
        """Room it takes on the disk, tail slots included."""
        return self.payload_bytes + 2 * MAX_SLOT_BYTES

    @property
    def plaintext_bytes(self) -> int:
        """Where in the opened clip the next fragments begin."""
        return self._cipher.plaintext_bytes

    def amend(self, kind: ClipKind, events: tuple[EventId, ...]) -> None:
        """Say what the clip is about now; durable on return."""
        opening = self.record.opening.model_copy(update={"kind": kind, "events": events})
        record = self.record.model_copy(update={"opening": opening})
        self.folder.write_record(record)
        self.record = record

    def tick(self, fragments: bytes, media_ms: int) -> None:
        """Seal whole fragments and make them durable, with one sync.

        Args:
            fragments: Whole MP4 boxes; with none, nothing is done.
            media_ms: From the first frame to the last in them.
        """
        if writes := self._cipher.tick(fragments, media_ms):
            self._write(writes)

    def finish(self, fragments: bytes, media_ms: int) -> Finished:
        """Seal the last fragments and make the payload whole and durable."""
        finished = self._cipher.finish(fragments, media_ms)
        self._write(finished.writes)
        return finished

    def _write(self, writes: Iterable[Write]) -> None:
        for write in writes:
            self.file.write_at(write.offset, write.data)
        self.file.sync()
