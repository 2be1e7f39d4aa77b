"""When a finger on the button rings, and when it only bounces or is impatient."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from doorstep_device.rules.press import QUIET_US, SAME_VISIT_US, Edge, Level, Visit

HELD_US = 150_000
"""A finger stays on a bell for about this long."""

# A contact that settles: each of its edges comes soon after the one before.
BOUNCES = st.lists(st.integers(1, QUIET_US - 1), max_size=6).map(
    lambda gaps: gaps[: len(gaps) // 2 * 2]
)
GAPS = st.integers(HELD_US + 13 * QUIET_US, 4 * SAME_VISIT_US)


def rings(edges: list[Edge]) -> list[int]:
    """Return when it rang."""
    visit, found = Visit(), []
    for edge in edges:
        visit, is_ring = visit.feed(edge)
        if is_ring:
            found.append(edge.at_us)
    return found


def settling(level: Level, at_us: int, gaps: list[int]) -> list[Edge]:
    """Return a change of the contact to ``level`` that bounces before it settles."""
    other = Level.HELD if level is Level.RELEASED else Level.RELEASED
    edges = [Edge(level, at_us)]
    for number, gap in enumerate(gaps):
        at_us += gap
        edges.append(Edge(level if number % 2 else other, at_us))
    return edges


def press(at_us: int, down: list[int], up: list[int]) -> list[Edge]:
    """Return a press that begins at ``at_us``, its contact bouncing at both ends."""
    held = settling(Level.HELD, at_us, down)
    return [*held, *settling(Level.RELEASED, held[-1].at_us + HELD_US, up)]


@given(down=BOUNCES, up=BOUNCES, at_us=st.integers(0, 10**12))
def test_a_bouncing_contact_is_one_press_and_rings_at_its_first_edge(
    down: list[int], up: list[int], at_us: int
) -> None:
    assert rings(press(at_us, down, up)) == [at_us]


@given(presses=st.lists(st.tuples(GAPS, BOUNCES, BOUNCES), min_size=1, max_size=12))
def test_it_rings_again_only_after_two_seconds_without_a_press(
    presses: list[tuple[int, list[int], list[int]]],
) -> None:
    at_us, edges = 0, list[Edge]()
    begun: list[tuple[int, bool]] = []
    for gap, down, up in presses:
        is_new = not begun or gap >= SAME_VISIT_US
        at_us += gap
        edges += press(at_us, down, up)
        begun.append((at_us, is_new))
    assert rings(edges) == [at for at, is_new in begun if is_new]


@given(edges=st.lists(st.tuples(st.sampled_from(Level), st.integers(0, 3 * SAME_VISIT_US))))
def test_whatever_the_contact_does_two_rings_are_two_seconds_apart(
    edges: list[tuple[Level, int]],
) -> None:
    at_us, fed = 0, []
    for level, gap in edges:
        at_us += gap
        fed.append(Edge(level, at_us))
    found = rings(fed)
    assert all(later - sooner >= SAME_VISIT_US for sooner, later in pairwise(found))
    assert set(found) <= {edge.at_us for edge in fed if edge.level is Level.HELD}


def test_a_release_alone_never_rings() -> None:
    assert rings([Edge(Level.RELEASED, 0), Edge(Level.RELEASED, SAME_VISIT_US)]) == []


def test_the_very_first_edge_may_ring() -> None:
    assert rings([Edge(Level.HELD, 0)]) == [0]
