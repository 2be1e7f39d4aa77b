"""What a demo found: every clip opened, every time measured, the public commands tried."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from doorstep_client.clips import EventItem
from doorstep_shared.errors import RefusedError
from doorstep_shared.manifest import ClipKind, ObjectName
from doorstep_simulator.block import BLOCK
from doorstep_simulator.doorbell import Doorbell
from doorstep_simulator.facts import FactLog
from doorstep_simulator.film_strip import film_strip
from doorstep_simulator.owner import Heard, OpenedClip, Owner
from doorstep_simulator.playback import Film
from doorstep_simulator.proof import ProofFailedError, decode
from doorstep_simulator.report import ClipReport, DemoReport, EventMark, Kind
from doorstep_simulator.report import Fact as Checkable
from doorstep_simulator.score_curve import ScorePoint
from doorstep_simulator.way import Moments, confirmed_ms, press_of, steps_of

# The rule's own scale: a score of a half is the least that counts.
THRESHOLD: Final = 0.5
# The first picture is the key frame nearest to the pre-roll asked for; they are 1 s apart.
_PRE_ROLL_SLACK_S: Final = 1.2
# So many fill a page's width and are large enough to see who comes.
STRIP_PICTURES: Final = 5

# More events than a demo of three minutes can hold.
_MOST: Final = 1_000


class NoClipError(RefusedError):
    """An event has no clip."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a demo has left when its film is over.

    Attributes:
        film: What was shown.
        speed: Its pace: seconds of film, and of the doorbell's clock, per second.
        stack_ready_s: How long broker, store and service took to start.
        facts: The doorbell's.
        heard: The listener's.
        clips: Opened, in the order of time.
        events: All of them.
    """

    film: Film
    speed: float
    stack_ready_s: float
    facts: FactLog
    heard: Sequence[Heard]
    clips: Sequence[OpenedClip]
    events: Sequence[EventItem]


def gather(
    doorbell: Doorbell, stack_ready_s: float, heard: Sequence[Heard], owner: Owner
) -> Material:
    """Return the material, every clip fetched, checked and opened as its owner.

    Raises:
        NoClipError: Something happened and was not recorded.
        DoorstepError: A clip cannot be had, or is not what the doorbell signed.
    """
    items = sorted(owner.clips(_MOST), key=lambda item: (item.started_at, item.part))
    opened = [owner.open_clip(item.id) for item in items]
    events = owner.events(limit=_MOST)
    if without := [event.kind.value for event in events if event.clip is None]:
        raise NoClipError(
            f"there is no clip of {len(without)} event(s) ({', '.join(without)})",
            safe="The events themselves are stored.",
            do="run the demo again        (KEEP=1 keeps the logs)",
        )
    wiring = doorbell.wiring
    return Material(wiring.film, wiring.speed, stack_ready_s, doorbell.facts, heard, opened, events)


def check_ring_clip(material: Material, video: bytes) -> None:
    """Return if ``video``, opened by the public commands, is the ring's clip as it should be.

    Raises:
        ProofFailedError: It is another one, or does not begin with the pre-roll.
    """
    ring = next((e for e in material.events if e.kind is ClipKind.RING), None)
    clip = next((c for c in material.clips if ring is not None and ring.id in c.item.events), None)
    if ring is None or clip is None:
        raise ProofFailedError("there is no clip of the ring")
    if video != clip.video:
        raise ProofFailedError("the opened clip is another one than that of the ring")
    decoded = decode(video)
    before_s = (ring.at - clip.item.started_at).total_seconds()
    is_first = clip.item.events[0] == ring.id
    if is_first and abs(before_s - clip.manifest.pre_roll_ms / 1000) > _PRE_ROLL_SLACK_S:
        raise ProofFailedError(f"the clip begins {before_s:.1f} s before the press, not as signed")
    if before_s <= 0 or decoded.duration_s < before_s:
        raise ProofFailedError("the clip does not begin with its pre-roll")


def report_on(material: Material, *, curl_ok: bool) -> DemoReport:
    """Return the report of a demo."""
    zero = _film_began(material.facts)
    ring = next((e for e in material.events if e.kind is ClipKind.RING), None)
    scores = _scores(material.facts)
    return DemoReport(
        video=material.film.video.name if material.film.video else "the rendered doorstep",
        made_at=datetime.now(UTC),
        speed=material.speed,
        length_s=scores[-1].t_s if scores else 0.0,
        stack_ready_s=material.stack_ready_s,
        ring_to_cloud_ms=None if ring is None else confirmed_ms(ring.id, material.facts),
        ring_to_listener_ms=None if ring is None else _to_listener_ms(ring, material),
        curl_ok=curl_ok,
        scores=tuple(scores),
        threshold=THRESHOLD,
        events=tuple(
            EventMark(Kind(event.kind.value), (event.at - zero).total_seconds())
            for event in reversed(material.events)
        ),
        clips=tuple(_clip_report(clip, material, zero) for clip in material.clips),
        commands=BLOCK,
    )


def to_json(report: DemoReport) -> dict[str, object]:
    """Return the object that ``JSON=1`` ends stdout with.

    ``ring_to_cloud_ms`` is the time from the press until the service's acknowledgement, sent
    after its commit, was back at the doorbell: an upper bound of the commit, by one clock.
    """
    return {
        "stack_ready_s": round(report.stack_ready_s, 3),
        "ring_to_cloud_ms": _rounded(report.ring_to_cloud_ms),
        "ring_to_listener_ms": _rounded(report.ring_to_listener_ms),
        "curl_ok": report.curl_ok,
        "clips": [
            {
                "kind": clip.kind.value,
                "started_at": clip.started_at.isoformat().replace("+00:00", "Z"),
                "duration_s": round(clip.duration_s, 3),
                "frames": clip.frames,
                "pre_roll_s": round(clip.pre_roll_s, 3),
                "bytes": clip.size_bytes,
                "acked": clip.is_acked,
            }
            for clip in report.clips
        ],
    }


def _clip_report(clip: OpenedClip, material: Material, zero: datetime) -> ClipReport:
    item = clip.item
    decoded = decode(clip.video)
    events: Mapping[str, EventItem] = {event.id: event for event in material.events}
    moments = Moments(
        heard_s={one.event.id: one.heard_s for one in material.heard},
        opened_s=clip.opened_s,
        wall_ms=(time.time() - time.monotonic()) * 1000,
    )
    known_by = next((events[event] for event in item.events if event in events), None)
    return ClipReport(
        kind=Kind(item.kind.value),
        clip_id=item.id,
        started_at=item.started_at.astimezone(UTC),
        starts_s=(item.started_at - zero).total_seconds(),
        duration_s=decoded.duration_s,
        pre_roll_s=item.pre_roll_s,
        frames=decoded.frames,
        size_bytes=item.file.size_bytes if item.file else 0,
        is_acked=material.facts.first("clip_stored", clip_id=item.id) is not None,
        strip_jpeg=film_strip(clip.video, STRIP_PICTURES, zero_s=item.pre_roll_s),
        steps=() if known_by is None else steps_of(item, known_by, material.facts, moments),
        facts=_checkables(clip),
    )


def _checkables(clip: OpenedClip) -> tuple[Checkable, ...]:
    file = clip.manifest.objects[ObjectName.FILE]
    return (
        Checkable("signed by the doorbell", clip.manifest.device),
        Checkable("sealed to the household's key", clip.manifest.recipient),
        Checkable("SHA-256 of what the service stores", file.payload.sha256.hex()),
        Checkable("bytes of it", f"{file.payload.length:,}"),
    )


def _film_began(facts: FactLog) -> datetime:
    """Return the doorbell's wall time at its first frame."""
    began = facts.first("film_began")
    if began is None:
        raise RuntimeError("a film that never began has no report")
    return datetime.fromtimestamp(began.number("began_ms") / 1000, UTC)


def _scores(facts: FactLog) -> list[ScorePoint]:
    return [
        ScorePoint(fact.number("t_s"), fact.number("score"), bool(fact.details.get("is_moving")))
        for fact in facts.all("frame_scored")
    ]


def _to_listener_ms(ring: EventItem, material: Material) -> float | None:
    pressed = press_of(ring.id, material.facts)
    heard = next((one for one in material.heard if one.event.id == ring.id), None)
    if pressed is None or heard is None:
        return None
    return (heard.heard_s - pressed.arrived_s) * 1000


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)
