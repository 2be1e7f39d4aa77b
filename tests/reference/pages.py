"""The pages that are made from the code, and what has to be written down before they can be."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.reference import error_page, metric_page, operator_page, setting_page, topic_page
from tests.reference.facts import CHECKOUT

DOCS: Final = CHECKOUT / "docs"

PAGES: Final[Mapping[Path, Callable[[], str]]] = {
    DOCS / "reference" / "settings.md": setting_page.page,
    DOCS / "reference" / "errors.md": error_page.page,
    DOCS / "reference" / "topics.md": topic_page.page,
    DOCS / "reference" / "metrics.md": metric_page.page,
    DOCS / "what-the-operator-can-see.md": operator_page.page,
}


def wrong() -> list[str]:
    """Return what the pages cannot tell yet, and where to write it."""
    settings = [
        f"the setting {name} has no line under Attributes in {settings.__name__}"
        for _, settings, _ in setting_page.PROGRAMS
        for name in settings.model_fields
        if name not in setting_page.meanings(settings)
    ]
    return [*map(str, operator_page.gaps()), *settings]
