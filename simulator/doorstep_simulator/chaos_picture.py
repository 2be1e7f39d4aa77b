"""The timeline of a fault lab, drawn: who was struck when, and what was recorded meanwhile.

One lane for each process, one for each doorbell's clips. A picture for pages on white and
on black: its colours follow the reader's own choice.
"""

import math
from collections.abc import Iterator
from html import escape
from typing import Final

from doorstep_simulator.chaos_course import ClipMark, Course, Strike
from doorstep_simulator.chaos_plan import Victim

WIDTH: Final = 1000
_LEFT, _RIGHT, _TOP = 120, 28, 64
_LANE: Final = 44
_BAR: Final = 16
_AXIS: Final = 40
_TICK_STEPS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
_TICKS_ABOUT: Final = 10

# Pairs for light and dark, each with enough contrast on its ground, and apart for eyes that
# confuse red and green: marks differ in shape too.
_STYLE: Final = """\
svg{--ground:#fff;--ink:#1c2733;--dim:#5d6b7a;--line:#dfe5eb;--kill:#c2262e;--bar:#f0a13a;
--fault:#6d5bd0;--clip:#12805c}
@media (prefers-color-scheme:dark){svg{--ground:#12181f;--ink:#e6ebf0;--dim:#9aa7b4;
--line:#2b3642;--kill:#ff7b7b;--bar:#d98a1f;--fault:#a698ff;--clip:#3fcf9c}}
text{font:13px system-ui,sans-serif;fill:var(--ink)}.dim{fill:var(--dim)}.title{font-weight:600;
font-size:15px}.line{stroke:var(--line)}.bar{fill:var(--bar)}.fault{fill:var(--fault);opacity:.55}
.kill{stroke:var(--kill);stroke-width:2.5}.way{stroke:var(--clip);opacity:.5}
.clip{fill:var(--clip)}.late{fill:none;stroke:var(--kill);stroke-width:2}
"""


def draw_course(course: Course) -> str:
    """Return the timeline of a run as an SVG document."""
    lanes = [victim.value for victim in Victim]
    lanes += [f"clips of {number + 1}" for number in range(course.plan.bells)]
    height = _TOP + len(lanes) * _LANE + _AXIS
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{escape(_summary(course))}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect width="{WIDTH}" height="{height}" style="fill:var(--ground)"/>',
            *_heading(course),
            *_lanes(lanes),
            *_axis(course, height - _AXIS),
            *(shape for strike in course.strikes for shape in _strike(course, strike)),
            *(shape for clip in course.clips for shape in _clip(course, clip)),
            "</svg>\n",
        )
    )


def _summary(course: Course) -> str:
    return (
        f"{len(course.clips)} clips, {len(course.kills)} kills, seed {course.plan.seed}: "
        f"well again after {course.recovery_s_max:.1f} s at most"
    )


def _heading(course: Course) -> Iterator[str]:
    yield f'<text class="title" x="16" y="26">{escape(_summary(course))}</text>'
    for x, shape, words in (
        (16, f'<path class="kill" d="{_cross(22, 44)}"/>', "killed"),
        (92, '<rect class="bar" x="92" y="38" width="16" height="12" rx="2"/>', "until well again"),
        (
            232,
            '<rect class="fault" x="232" y="38" width="16" height="12" rx="2"/>',
            "another fault",
        ),
        (362, '<circle class="clip" cx="370" cy="44" r="4"/>', "clip complete, until stored"),
    ):
        yield shape
        yield f'<text class="dim" x="{x + 22}" y="48">{words}</text>'


def _lanes(names: list[str]) -> Iterator[str]:
    for place, name in enumerate(names):
        y = _TOP + place * _LANE
        yield f'<line class="line" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text x="16" y="{y + _LANE / 2 + 4:g}">{escape(name)}</text>'


def _axis(course: Course, y: float) -> Iterator[str]:
    yield f'<line class="line" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
    step_s = next(
        (step for step in _TICK_STEPS_S if step * _TICKS_ABOUT >= course.length_s),
        _TICK_STEPS_S[-1],
    )
    for number in range(math.floor(course.length_s / step_s) + 1):
        x = _x(course, number * step_s)
        yield f'<line class="line" x1="{x}" x2="{x}" y1="{_TOP}" y2="{y + 5}"/>'
        label = f"{number * step_s} s"
        yield f'<text class="dim" x="{x}" y="{y + 20}" text-anchor="middle">{label}</text>'


def _strike(course: Course, strike: Strike) -> Iterator[str]:
    y = _TOP + list(Victim).index(strike.fault.victim) * _LANE + _LANE / 2
    x = _x(course, strike.at_s)
    said = f"<title>{escape(strike.fault.words)}"
    if not strike.is_kill:
        # Below the middle, so that a kill in the midst of it is seen.
        width = max(3.0, _x(course, strike.over_s) - x)
        place = f'x="{x}" y="{y + 3:g}" width="{width:.1f}" height="{_BAR - 4}" rx="2"'
        yield f'<rect class="fault" {place}>{said}</title></rect>'
        return
    well_s = strike.at_s if strike.well_s is None else strike.well_s
    width = max(1.0, _x(course, well_s) - x)
    place = f'x="{x}" y="{y - _BAR:g}" width="{width:.1f}" height="{_BAR}" rx="2"'
    yield f'<rect class="bar" {place}>{said}: {well_s - strike.at_s:.1f} s</title></rect>'
    yield f'<path class="kill" d="{_cross(x, y - _BAR / 2)}"/>'


def _clip(course: Course, clip: ClipMark) -> Iterator[str]:
    y = _TOP + (len(Victim) + clip.bell) * _LANE + _LANE / 2
    x = _x(course, clip.finished_s)
    if clip.stored_s is None:
        yield f'<circle class="late" cx="{x}" cy="{y:g}" r="5"><title>never stored</title></circle>'
        return
    end = _x(course, clip.stored_s)
    yield f'<line class="way" x1="{x}" x2="{end}" y1="{y:g}" y2="{y:g}"/>'
    yield f'<circle class="clip" cx="{x}" cy="{y:g}" r="3"/>'


def _x(course: Course, at_s: float) -> float:
    share = min(1.0, max(0.0, at_s / max(course.length_s, 0.001)))
    return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)


def _cross(x: float, y: float) -> str:
    return f"M{x - 4:g},{y - 4:g}l8,8m0,-8l-8,8"
