"""Which clips began until a time."""

from hypothesis import given
from hypothesis import strategies as st

from doorstep_device.rules.deletion import Begun, decide_begun_until
from doorstep_shared.ids import ClipId

UNTIL_MS = 1000


def chosen(*clips: tuple[int, bool], until_ms: int = UNTIL_MS) -> list[int]:
    """Return the places of those that began until then; each is its start and its clock."""
    begun = [Begun(ClipId(str(n)), start, synced) for n, (start, synced) in enumerate(clips)]
    return [int(clip) for clip in decide_begun_until(begun, until_ms)]


def test_a_clip_that_began_at_that_very_time_is_among_them() -> None:
    assert chosen((UNTIL_MS - 1, True), (UNTIL_MS, True), (UNTIL_MS + 1, True)) == [0, 1]


def test_a_clock_that_was_never_set_is_believed_when_nothing_speaks_against_it() -> None:
    assert chosen((5, False), (UNTIL_MS + 1, False)) == [0]


def test_a_clip_recorded_after_a_later_one_is_not_taken_for_old() -> None:
    assert chosen((UNTIL_MS + 1, True), (5, False)) == []


def test_a_clip_recorded_after_an_earlier_one_may_be_as_old_as_its_clock_says() -> None:
    assert chosen((500, True), (5, False)) == [0, 1]


def test_one_wrong_time_spoils_the_clips_up_to_the_next_right_one_only() -> None:
    assert chosen((10 * UNTIL_MS, True), (5, False), (500, True), (6, False)) == [2, 3]


@given(st.lists(st.tuples(st.integers(0, 3000), st.booleans())), st.integers(0, 3000))
def test_with_every_clock_set_it_is_the_start_that_decides(
    clips: list[tuple[int, bool]], until_ms: int
) -> None:
    synced = [(start, True) for start, _ in clips]
    expected = [n for n, (start, _) in enumerate(synced) if start <= until_ms]
    assert chosen(*synced, until_ms=until_ms) == expected
