"""Problem documents: one table from error families to HTTP answers (RFC 9457).

They have the shape every message of ours has: ``title`` is the fact,
``detail`` what is safe, ``do`` the next step.
"""

import math
import re
from collections.abc import Mapping
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from doorstep_cloud.store.errors import (
    ConflictError,
    NotFoundError,
    NotSignedInError,
    TooOftenError,
    UnsatisfiableRangeError,
)
from doorstep_cloud.web.words import Flaw, describe
from doorstep_shared.consent import BrokenPolicyError
from doorstep_shared.errors import BadMessageError, DoorstepError, RefusedError, TryLaterError
from doorstep_shared.statements import BrokenChainError

MEDIA_TYPE: Final = "application/problem+json"

STATUS: Final[tuple[tuple[type[DoorstepError], int], ...]] = (
    (TooOftenError, 429),
    (TryLaterError, 503),
    (BadMessageError, 400),
    (NotSignedInError, 401),
    (NotFoundError, 404),
    (ConflictError, 409),
    (BrokenChainError, 409),
    (BrokenPolicyError, 409),
    (UnsatisfiableRangeError, 416),
    (RefusedError, 403),
)
"""The first row whose family the error is of decides."""

_ROUTING: Final = {
    404: ("no-such-place", "there is nothing at this address"),
    405: ("no-such-method", "this address does not know that method"),
}

_RETRY_S: Final = 2.0


class Problem(BaseModel):
    """What went wrong, what is safe, what to do."""

    type: str = Field(examples=["urn:doorstep:problem:not-found"])
    title: str = Field(description="The fact", examples=["there is no such clip"])
    status: int = Field(examples=[404])
    detail: str = Field(description="What is safe all the same")
    do: str = Field(description="The next step", examples=["doorstep clip list"])


def problem_response(
    status: int,
    name: str,
    title: str,
    *,
    detail: str = "",
    do: str = "",
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return a problem document as an HTTP answer."""
    problem = Problem(
        type=f"urn:doorstep:problem:{name}",
        title=title,
        status=status,
        detail=detail or "Nothing was changed.",
        do=do or "See /openapi.json for what can be asked here.",
    )
    return JSONResponse(
        problem.model_dump(), status_code=status, media_type=MEDIA_TYPE, headers=headers
    )


def install_problems(app: FastAPI) -> None:
    """Make every error of ``app`` leave it as a problem document."""
    app.exception_handler(DoorstepError)(_of_ours)
    app.exception_handler(RequestValidationError)(_of_validation)
    app.exception_handler(HTTPException)(_of_routing)
    app.exception_handler(Exception)(_of_nobody)


async def _of_ours(_request: Request, error: DoorstepError) -> JSONResponse:
    status = next((status for family, status in STATUS if isinstance(error, family)), 500)
    return problem_response(
        status,
        _name(error),
        error.fact,
        detail=error.safe,
        do=error.do,
        headers=_headers(error),
    )


async def _of_validation(_request: Request, error: RequestValidationError) -> JSONResponse:
    flaws = [Flaw(type=e["type"], loc=e["loc"], msg=e["msg"]) for e in error.errors()]
    is_body = any(flaw["loc"][0] == "body" for flaw in flaws)
    return problem_response(
        422 if is_body else 400,
        "not-as-described",
        "; ".join(describe(flaw) for flaw in flaws),
        do="Put that right and ask again.",
    )


async def _of_routing(_request: Request, error: HTTPException) -> JSONResponse:
    name, title = _ROUTING.get(error.status_code, ("http", error.detail))
    return problem_response(error.status_code, name, title, headers=error.headers)


async def _of_nobody(_request: Request, _error: Exception) -> JSONResponse:
    # The server's log has the trace; the caller gets nothing of our inside.
    return problem_response(
        500,
        "our-mistake",
        "the service met something it was not made for",
        detail="The request was undone.",
        do="Try once more; if it happens again, tell whoever runs this service when it was.",
    )


def _name(error: DoorstepError) -> str:
    words = re.findall("[A-Z][a-z0-9]*", type(error).__name__.removesuffix("Error"))
    return "-".join(words).lower()


def _headers(error: DoorstepError) -> dict[str, str] | None:
    if isinstance(error, TryLaterError):
        after_s = _RETRY_S if error.after_s is None else error.after_s
        return {"Retry-After": str(math.ceil(after_s))}
    if isinstance(error, NotSignedInError):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, UnsatisfiableRangeError):
        return {"Content-Range": f"bytes */{error.size_bytes}"}
    return None
