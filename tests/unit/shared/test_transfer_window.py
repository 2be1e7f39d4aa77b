"""How many segments may be on the way, by the delay of their replies."""

from hypothesis import given
from hypothesis import strategies as st

from doorstep_shared.transfer.messages import MAX_WINDOW
from doorstep_shared.transfer.window import LATE_US, START, Window

RTT_US = 50_000


def fed(window: Window, *delays_us: int) -> Window:
    for delay_us in delays_us:
        window = window.feed(delay_us)
    return window


def test_the_first_window_is_four_segments() -> None:
    assert Window().size == START == 4


def test_prompt_replies_open_the_window_to_its_full_size_and_no_further() -> None:
    assert fed(Window(), *[RTT_US] * (MAX_WINDOW - START)).size == MAX_WINDOW
    assert fed(Window(), *[RTT_US] * 100).size == MAX_WINDOW


def test_a_reply_150_ms_over_the_least_delay_is_not_late_yet() -> None:
    assert fed(Window(), RTT_US, RTT_US + LATE_US).size == START + 2


def test_a_late_reply_closes_the_window_by_one_segment() -> None:
    assert fed(Window(), RTT_US, RTT_US + LATE_US + 1).size == START


def test_late_replies_of_one_window_count_once() -> None:
    slow = RTT_US + LATE_US + 1
    window = fed(Window(), RTT_US, slow)

    assert fed(window, *[slow] * window.size).size == window.size
    assert fed(window, *[slow] * (window.size + 1)).size == window.size - 1


def test_after_a_late_reply_the_window_opens_one_segment_a_window() -> None:
    window = fed(Window(), RTT_US, RTT_US + LATE_US + 1)

    assert fed(window, *[RTT_US] * window.size).size == window.size
    assert fed(window, *[RTT_US] * (window.size + 1)).size == window.size + 1


def test_a_line_that_stays_slow_is_left_with_one_segment() -> None:
    assert fed(Window(), RTT_US, *[RTT_US + LATE_US + 1] * 100).size == 1


@given(st.lists(st.integers(0, 10_000_000), max_size=200))
def test_the_window_is_always_between_one_and_sixteen_segments(delays_us: list[int]) -> None:
    window = Window()
    for delay_us in delays_us:
        before, window = window.size, window.feed(delay_us)
        assert 1 <= window.size <= MAX_WINDOW
        assert abs(window.size - before) <= 1
    if delays_us:
        assert window.least_us == min(delays_us)


def test_on_a_simulated_home_uplink_the_queue_stays_short() -> None:
    """10 Mbit/s and 50 ms: two segments fill the line, sixteen would queue for 1.6 s."""
    segment_us = 131072 * 8 // 10
    window, now_us, free_us, sent = Window(), 0, 0, 0
    on_the_way: list[tuple[int, int]] = []
    sizes: list[int] = []
    while sent < 250:
        while len(on_the_way) < window.size:
            free_us = max(free_us, now_us) + segment_us
            on_the_way.append((now_us, free_us + RTT_US))
            sent += 1
        left_us, now_us = on_the_way.pop(0)
        window = window.feed(now_us - left_us)
        sizes.append(window.size)

    assert set(sizes[50:]) == {2, 3}
