"""The report: what a run showed, as one page that needs nothing else."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cache
from itertools import pairwise
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from doorstep_simulator.score_curve import ScoreCurve, ScorePoint, draw_curve

# A clip's chart shows a little of what came before and after it.
_AROUND_S: Final = 4.0
_SECOND_MS: Final = 1000
_MINUTE_S: Final = 60
_TEN: Final = 10
_KB: Final = 1000


class Where(StrEnum):
    """Who has the ring or the clip at a step of the way."""

    DOORBELL = "doorbell"
    BROKER = "broker"
    SERVICE = "service"
    YOU = "you"


class Kind(StrEnum):
    """What made an event or a clip."""

    RING = "ring"
    MOTION = "motion"


@dataclass(frozen=True, slots=True)
class Step:
    """One station on the way from the press to the opened clip.

    Attributes:
        name: What happened, in plain words.
        at_ms: When, in milliseconds since the first step.
        where: Who had it then.
    """

    name: str
    at_ms: float
    where: Where = Where.DOORBELL


@dataclass(frozen=True, slots=True)
class EventMark:
    """An event on the score curve.

    Attributes:
        kind: Ring or motion.
        at_s: When, on the score's time line.
    """

    kind: Kind
    at_s: float


@dataclass(frozen=True, slots=True)
class Fact:
    """Something the reader may check.

    Attributes:
        name: What it is.
        value: Its value, shown as it is.
    """

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class ClipReport:
    """One clip.

    Attributes:
        kind: What began it.
        clip_id: Its id.
        started_at: Wall time of the first picture, aware.
        starts_s: The same on the score's time line.
        duration_s: Length.
        pre_roll_s: How much of it lies before the event.
        frames: Pictures in it.
        size_bytes: Size of the sealed file.
        is_acked: Whether the service confirmed that it is stored.
        strip_jpeg: A film strip; None if the clip was not opened.
        steps: The way it took; the first is at 0 ms.
        facts: Hashes and keys, to check.
    """

    kind: Kind
    clip_id: str
    started_at: datetime
    starts_s: float
    duration_s: float
    pre_roll_s: float
    frames: int
    size_bytes: int
    is_acked: bool
    strip_jpeg: bytes | None = None
    steps: tuple[Step, ...] = ()
    facts: tuple[Fact, ...] = ()

    @property
    def ends_s(self) -> float:
        """When it ends on the score's time line."""
        return self.starts_s + self.duration_s


@dataclass(frozen=True, slots=True)
class DemoReport:
    """One run.

    Attributes:
        video: What was filmed, in words: a file's name, or the rendered doorstep.
        made_at: When, aware.
        length_s: Length of what was filmed.
        stack_ready_s: How long broker, store and service took to start.
        speed: Seconds of film per second, when it was shown.
        ring_to_cloud_ms: From the press until the doorbell had the service's word that the
            ring is stored: a little after the commit. None without a ring.
        ring_to_listener_ms: From the press to the listener; None without a ring.
        curl_ok: Whether the commands below opened the newest clip.
        scores: The motion rule's word on every frame.
        threshold: Score from which the rule sees motion, if it has one.
        events: Rings and motion.
        clips: In the order of time.
        commands: The commands to try, one line each.
    """

    video: str
    made_at: datetime
    length_s: float
    stack_ready_s: float
    speed: float = 1.0
    ring_to_cloud_ms: float | None = None
    ring_to_listener_ms: float | None = None
    curl_ok: bool = False
    scores: tuple[ScorePoint, ...] = ()
    threshold: float | None = None
    events: tuple[EventMark, ...] = ()
    clips: tuple[ClipReport, ...] = ()
    commands: tuple[str, ...] = field(default=())


def render(report: DemoReport) -> str:
    """Return the page: HTML without a script, a request, or a word that is not escaped."""
    clips = [(clip, _clip_curve(report, clip), _legs(clip.steps)) for clip in report.clips]
    whole = draw_curve(
        report.scores, from_s=0.0, to_s=max(report.length_s, 1.0), threshold=report.threshold
    )
    return _template().render(report=report, clips=clips, whole=whole)


@cache
def _template() -> Template:
    pages = Environment(
        loader=PackageLoader("doorstep_simulator"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "span": spoken_ms,
        "length_of": spoken_length,
        "size": spoken_size,
        "jpeg": _jpeg_url,
    }
    return pages.get_template("report.html.j2")


def spoken_ms(ms: float) -> str:
    """Return a measured time with three digits at most: `3.4 ms`, `1.24 s`, `2 min 5 s`."""
    seconds = ms / _SECOND_MS
    if round(ms) >= _SECOND_MS:
        digits = 2 if round(seconds, 2) < _TEN else 1
        return (
            f"{seconds:.{digits}f} s" if round(seconds, 1) < _MINUTE_S else spoken_length(seconds)
        )
    digits = 1 if 0 < round(ms, 1) < _TEN else 0
    return f"{ms:.{digits}f} ms"


def spoken_length(seconds: float) -> str:
    """Return the length of a film: `6 s`, `20.1 s`, `2 min 5 s`."""
    if round(seconds, 1) < _MINUTE_S:
        return f"{round(seconds, 1):g} s"
    minutes, rest = divmod(round(seconds), _MINUTE_S)
    return f"{minutes} min {rest} s"


def spoken_size(size_bytes: int) -> str:
    """Return a size as a person says it: `812 bytes`, `64.1 kB`, `1.82 MB`."""
    if size_bytes < _KB:
        return f"{size_bytes} bytes"
    if size_bytes < _KB * _KB:
        return f"{size_bytes / _KB:.1f} kB"
    return f"{size_bytes / _KB / _KB:.2f} MB"


@dataclass(frozen=True, slots=True)
class _Leg:
    """A step together with the time the way to it took."""

    step: Step
    took_ms: float | None


def _legs(steps: Sequence[Step]) -> list[_Leg]:
    took: list[float | None] = [None]
    took += [after.at_ms - before.at_ms for before, after in pairwise(steps)]
    return [_Leg(step, ms) for step, ms in zip(steps, took, strict=False)]


def _clip_curve(report: DemoReport, clip: ClipReport) -> ScoreCurve | None:
    return draw_curve(
        report.scores,
        from_s=clip.starts_s - _AROUND_S,
        to_s=clip.ends_s + _AROUND_S,
        threshold=report.threshold,
    )


def _jpeg_url(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + b64encode(jpeg).decode("ascii")
