"""The pages that are made from the code are as the code makes them now."""

import ast
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from doorstep_cloud.web.problems import STATUS
from doorstep_shared.errors import DoorstepError
from doorstep_shared.topics import Leaf
from tests.reference import error_page, facts, operator_page, sight
from tests.reference.bodies import LEAVES, MODELS, SAID
from tests.reference.facts import CLOUD, DEVICE, HiddenFactError, facts_in
from tests.reference.pages import PAGES, wrong

TYPE_THIS = "make reference"


def test_nothing_is_missing_that_the_pages_would_have_to_tell() -> None:
    assert wrong() == [], "write that down, then type: " + TYPE_THIS


@pytest.mark.parametrize(("page", "make"), PAGES.items(), ids=lambda one: getattr(one, "name", ""))
def test_a_page_is_as_the_code_makes_it(page: Path, make: Callable[[], str]) -> None:
    if wrong():
        pytest.skip("the test above says what to write down first")
    is_same = page.exists() and page.read_text() == make()
    assert is_same, f"{page.name} is not what the code says now; type: {TYPE_THIS}"


def changed(
    monkeypatch: pytest.MonkeyPatch, registry: str, name: str, fields: dict[str, sight.Sight]
) -> list[str]:
    """Return what is wrong once ``name`` of a registry says ``fields``."""
    before = getattr(sight, registry)
    monkeypatch.setattr(sight, registry, {**before, name: fields})
    return wrong()


def test_a_column_nobody_has_told_of_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = dict(sight.COLUMNS["token"])
    del known["name"]
    (problem,) = changed(monkeypatch, "COLUMNS", "token", known)
    assert "column token.name is not in tests/reference/sight.py" in problem


def test_a_field_of_a_message_nobody_has_told_of_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = dict(sight.BODIES["Health"])
    del known["uptime_s"]
    (problem,) = changed(monkeypatch, "BODIES", "Health", known)
    assert "field Health.uptime_s is not" in problem


def test_a_line_about_what_is_no_more_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {**sight.COLUMNS["token"], "colour": sight.seen("x")}
    (problem,) = changed(monkeypatch, "COLUMNS", "token", known)
    assert "column token.colour is in tests/reference/sight.py and nowhere else" in problem


@pytest.mark.parametrize(("registry", "name"), [("FACTS", "ring_stored"), ("KEYS", "event_id")])
def test_a_fact_or_a_name_in_one_nobody_has_told_of_is_named_with_its_place(
    monkeypatch: pytest.MonkeyPatch, registry: str, name: str
) -> None:
    known = dict(getattr(sight, registry))
    del known[name]
    monkeypatch.setattr(sight, registry, known)
    (problem,) = wrong()
    assert name in problem
    assert "cloud/doorstep_cloud/ingest/control.py:" in problem


def logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> list[tuple[str, set[str]]]:
    """Return what is found in a module of that one line."""
    monkeypatch.setattr(facts, "CHECKOUT", tmp_path)
    (tmp_path / "module.py").write_text(line)
    return [(fact.event, set(fact.keys)) for fact in facts_in(tmp_path)]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('log.info("x", a=1, b=2)', ("x", {"a", "b"})),
        ('_log.exception("x")', ("x", {"exception"})),
        ('stack.callback(log.warning, "x", a=1)', ("x", {"a"})),
        ('log.info("ingest_stopped", **counts)', ("ingest_stopped", {"counts of ingest"})),
    ],
)
def test_a_fact_is_found_however_it_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, found: tuple[str, set[str]]
) -> None:
    assert logged(tmp_path, monkeypatch, line) == [found]


@pytest.mark.parametrize("line", ["log.info(name)", 'log.info("x", **everything)', "log.info()"])
def test_a_fact_that_cannot_be_read_from_its_call_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    with pytest.raises(HiddenFactError, match=r"module\.py:1 logs"):
        logged(tmp_path, monkeypatch, line)


def test_no_call_that_logs_is_overlooked() -> None:
    """Every logger has a name that the walk knows."""
    for path in [*CLOUD.rglob("*.py"), *DEVICE.rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign) and "structlog.get_logger" in ast.unparse(node.value):
                assert {ast.unparse(target) for target in node.targets} <= facts.LOGGERS, path


def test_facts_name_things_by_the_same_names_at_both_ends() -> None:
    """So that one ring, and one clip, can be followed from the doorbell into the service."""
    for fact in [*facts_in(CLOUD), *facts_in(DEVICE)]:
        assert fact.keys.isdisjoint({"clip", "event", "device_id"}), fact
        assert fact.event == fact.event.lower()
    by_event = {fact.event for fact in facts_in(CLOUD) if "event_id" in fact.keys}
    assert by_event >= {"ring_stored", "motion_stored"}


def nested(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield every model that the fields of ``model`` are made of."""
    for field in model.model_fields.values():
        waiting: list[object] = [field.annotation]
        while waiting:
            one = waiting.pop()
            if isinstance(one, type) and issubclass(one, BaseModel):
                yield one
            waiting += get_args(one)


def test_every_topic_has_its_body_and_every_body_its_parts() -> None:
    assert set(LEAVES) == set(SAID) == set(Leaf)
    for model in MODELS.values():
        assert set(nested(model)) <= set(MODELS.values())
    for model in operator_page.SIGNED:
        assert set(nested(model)) <= set(operator_page.SIGNED)


def test_what_is_said_of_an_error_is_so() -> None:
    """Its family and its status, read from the source, are those that Python finds."""
    found = error_page.errors()
    assert len(found) > 40
    for one in found.values():
        kind = getattr(import_module(one.module), one.name)
        assert issubclass(kind, DoorstepError)
        assert error_page.family_of(one, found) in {base.__name__ for base in kind.__mro__}
        status = next(status for family, status in STATUS if issubclass(kind, family))
        assert error_page.status_of(one, found) == status


def test_every_error_says_the_fact_it_is() -> None:
    for one in error_page.errors().values():
        assert one.words, one.full_name
