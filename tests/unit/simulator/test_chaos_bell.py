"""The book of a doorbell in a fault lab: what it adds up to over all its runs."""

from doorstep_simulator.chaos_bell import Book
from doorstep_simulator.facts import Fact


def heard(*facts: tuple[str, float] | tuple[str, float, str]) -> Book:
    """Return a book of facts: what, when, and the id of the event or clip."""
    book = Book()
    for event, at_s, *name in facts:
        details: dict[str, str | int | float | bool | None] = {}
        if name:
            details = {"event_id": name[0], "clip_id": name[0]}
        book.hear(Fact(event, at_s, details=details))
    return book


def test_a_ring_goes_from_noticed_to_kept_to_acknowledged() -> None:
    book = heard(("ring_pressed", 1, "a"), ("event_stored", 2, "a"))
    assert (book.has_kept(1.5), book.has_kept(2), book.is_settled()) == (True, False, False)
    assert book.first_acked_s(kept_since_s=0) is None
    book.hear(Fact("event_acked", 3, details={"event_id": "a"}))
    assert book.is_settled()
    assert book.first_acked_s(kept_since_s=0) == 3


def test_what_was_kept_before_or_acknowledged_too_early_shows_no_recovery() -> None:
    book = heard(
        ("event_stored", 1, "before"),
        ("event_stored", 5, "after"),
        ("event_acked", 6, "before"),
        ("event_acked", 7, "after"),
    )
    assert book.first_acked_s(kept_since_s=2) == 7
    assert book.first_acked_s(kept_since_s=2, acked_since_s=6.5) == 7
    assert book.first_acked_s(kept_since_s=2, acked_since_s=7.5) is None


def test_the_first_word_counts_where_things_are_told_again() -> None:
    book = heard(
        ("clip_finished", 1, "c"),
        ("clip_announced", 2, "c"),
        ("clip_stored", 3, "c"),
        ("clip_stored", 4, "c"),
    )
    assert book.clips() == {"c": (1, 3)}
    assert book.is_settled()


def test_a_clip_that_a_later_run_found_on_the_card_is_known_once_it_is_told_of() -> None:
    book = heard(("clip_announced", 2, "cut"))
    assert not book.is_settled()
    assert book.clips() == {"cut": (2, None)}


def test_it_is_on_from_its_own_first_word_until_its_power_is_gone() -> None:
    runs: list[tuple[str, float]] = [
        ("power_restored", 1),
        ("agent_started", 2),
        ("doorbell_stopped", 3),
    ]
    assert [heard(*runs[:told]).on_s for told in range(4)] == [None, None, 2, None]
    assert heard(*runs).troubles == []
