import re
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_simulator.report import (
    ClipReport,
    DemoReport,
    EventMark,
    Fact,
    Kind,
    Step,
    Where,
    render,
    spoken_length,
    spoken_ms,
    spoken_size,
)
from doorstep_simulator.score_curve import ScorePoint

NOW = datetime(2026, 11, 22, 9, 41, 12, tzinfo=UTC)
JPEG = b"\xff\xd8\xff\xe0 a picture \xff\xd9"
RING = ClipReport(
    kind=Kind.RING,
    clip_id="0193a1b2-0000-7000-8000-000000000001",
    started_at=NOW,
    starts_s=12.0,
    duration_s=20.1,
    pre_roll_s=6.0,
    frames=301,
    size_bytes=1_420_000,
    is_acked=True,
    strip_jpeg=JPEG,
    steps=(
        Step("pressed", 0.0, Where.DOORBELL),
        Step("service committed it", 11.8, Where.SERVICE),
        Step("opened with age", 9120.0, Where.YOU),
    ),
    facts=(Fact("Sealed file, SHA-256", "9f86d081"),),
)
MOTION = replace(RING, kind=Kind.MOTION, starts_s=2.0, clip_id="0193a1b2-motion")
QUIET = DemoReport(
    video="brightness-53.mp4",
    made_at=NOW,
    length_s=40.0,
    stack_ready_s=4.2,
    scores=tuple(ScorePoint(t / 10, 0.01, is_moving=False) for t in range(400)),
    threshold=0.2,
)
RUN = replace(
    QUIET,
    ring_to_cloud_ms=11.8,
    ring_to_listener_ms=14.9,
    curl_ok=True,
    events=(EventMark(Kind.MOTION, 8.0), EventMark(Kind.RING, 18.0)),
    clips=(MOTION, RING),
    commands=('curl -H "Authorization: Bearer $TOKEN" | age -d > clip.mp4',),
)


class Page(HTMLParser):
    """Collects the tags, their attributes and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in {"dt", "dd", "span", "time"}:
            self.text += " "

    def handle_data(self, data: str) -> None:
        if self.lasttag != "style":
            self.text += data

    @property
    def skeleton(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(tag, tuple(attributes)) for tag, attributes in self.tags]


def words(report: DemoReport) -> str:
    return " ".join(Page(render(report)).text.split())


@pytest.mark.parametrize("report", [RUN, QUIET], ids=["run", "quiet"])
def test_the_page_asks_nothing_of_the_network(report: DemoReport) -> None:
    html = render(report)
    page = Page(html)

    assert "http:" not in html
    assert "https:" not in html
    assert not re.search(r"url\(|@import", html)
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "a"}
        assert (attributes.get("src") or "data:").startswith("data:image/jpeg;base64,") or (
            "src" not in attributes
        )
        assert not {"href", "srcset", "poster", "action"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)


def test_the_browser_is_told_to_fetch_nothing() -> None:
    policies = [
        attributes["content"]
        for tag, attributes in Page(render(RUN)).tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]

    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_the_page_tells_the_run_in_plain_words() -> None:
    said = words(RUN)

    assert "The bell was rung. The film is stored, and only you can open it." in said
    assert "made 2 clips, one of them because the demo pressed the button." in said
    assert "Press to stored, confirmed 12 ms" in said
    assert "Press to your terminal 15 ms" in said
    assert "Clips stored 2 of 2" in said
    assert "20.1 s of film, from 6 s before the press; 301 pictures, 1.42 MB sealed." in said
    assert "11.8" not in said


def test_a_film_shown_faster_says_which_times_are_real() -> None:
    assert "times as fast" not in words(RUN)
    said = words(replace(RUN, speed=1.3456))
    assert "shown 1.35 times as fast as it was taken" in said
    assert "How long something was on its way is real time" in said


def test_a_motion_clip_begins_before_motion_was_noticed() -> None:
    assert "from 6 s before motion was noticed;" in words(RUN)


def test_the_way_ends_where_it_was_followed_to() -> None:
    assert "From the finger to the opened film" in words(RUN)
    stored = replace(RING, steps=RING.steps[:-1])
    assert "From the finger to the stored film" in words(replace(RUN, clips=(stored,)))


def test_words_that_owners_need_not_know_are_not_used() -> None:
    assert not re.search(r"\b(epoch|envelope|twin|tile|leaf|quorum)\b", words(RUN), re.IGNORECASE)


def test_the_way_shows_each_step_and_what_it_took() -> None:
    said = words(replace(RUN, clips=(RING,)))

    assert "0 ms pressed" in said
    assert "service committed it" in said
    assert "+12 ms" in said
    assert "+9.11 s" in said


def test_the_clip_is_shaded_where_it_was_kept_and_its_events_are_marked() -> None:
    html = render(replace(RUN, clips=(RING,)))

    assert 'class="recorded" style="left:30.0%;width:50.25%"' in html
    assert 'class="mark ring" style="left:45.0%"' in html
    assert 'class="mark motion" style="left:20.0%"' in html


def test_a_video_without_motion_says_so() -> None:
    said = words(QUIET)

    assert "Nothing moved, so nothing was kept." in said
    assert "brightness-53.mp4" in said
    assert "Clips stored" not in said


def test_a_ring_without_motion_says_that_nothing_else_moved() -> None:
    said = words(replace(RUN, clips=(RING,), events=(EventMark(Kind.RING, 18.0),)))

    assert "1 clip, because the demo pressed the button." in said
    assert "Nothing in it moved enough to begin a clip by itself." in said


def test_a_clip_that_waits_is_not_called_stored() -> None:
    said = words(replace(RUN, clips=(MOTION, replace(RING, is_acked=False))))

    assert "Not all of the film is stored yet." in said
    assert "Clips stored 1 of 2" in said
    assert re.search("Waits on the doorbell.s card", said)


def test_a_clip_that_was_not_opened_has_no_picture() -> None:
    unopened = replace(RING, strip_jpeg=None, steps=(), facts=())

    assert "<img" not in render(replace(RUN, clips=(unopened,), scores=(), commands=()))


@given(st.text(min_size=1, max_size=40))
def test_no_text_can_change_the_page(text: str) -> None:
    hostile = f'</pre><script>alert(1)</script><img src="https://example.org"> & "{text}'
    clip = replace(
        RING,
        clip_id=hostile,
        steps=(Step(hostile, 0.0),),
        facts=(Fact(hostile, hostile),),
    )
    html = render(replace(RUN, video=hostile, clips=(clip,), commands=(hostile,)))
    plain = render(
        replace(
            RUN,
            video="x",
            clips=(replace(clip, clip_id="x", steps=(Step("x", 0.0),), facts=(Fact("x", "x"),)),),
            commands=("x",),
        )
    )

    assert Page(html).skeleton == Page(plain).skeleton
    assert "alert(1)" in unescape(html)


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (0, "0 ms"),
        (0.04, "0 ms"),
        (3.44, "3.4 ms"),
        (9.96, "10 ms"),
        (11.8, "12 ms"),
        (999.4, "999 ms"),
        (999.6, "1.00 s"),
        (1240, "1.24 s"),
        (9996, "10.0 s"),
        (14_230, "14.2 s"),
        (59_960, "1 min 0 s"),
        (125_000, "2 min 5 s"),
    ],
)
def test_a_measured_time_has_three_digits_at_most(ms: float, said: str) -> None:
    assert spoken_ms(ms) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(6.0, "6 s"), (20.08, "20.1 s"), (59.97, "1 min 0 s"), (95, "1 min 35 s")]
)
def test_a_films_length_is_said_as_people_do(seconds: float, said: str) -> None:
    assert spoken_length(seconds) == said


@pytest.mark.parametrize(
    ("size", "said"), [(812, "812 bytes"), (64_100, "64.1 kB"), (1_820_000, "1.82 MB")]
)
def test_a_size_is_said_as_people_do(size: int, said: str) -> None:
    assert spoken_size(size) == said
