"""The service's one HTTP route for doorbells: enrolment.

Whoever is behind the claim's address may say what it likes, for as long as it likes; it
costs this doorbell a minute and 64 KiB at most.
"""

import asyncio
from typing import Annotated, Final

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from doorstep_device.enrolment import Answer
from doorstep_shared.errors import BadMessageError, DoorstepError, RefusedError, TryLaterError

# Of silence; and of the whole conversation, however it drips.
TIMEOUT_S: Final = 20.0
WHOLE_S: Final = 60.0
# Three certificates are 3 KB.
MAX_ANSWER_BYTES: Final = 64 * 1024
_SERVER_ERROR = 500
_TOO_MANY = 429


class _Broker(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    host: str
    port: int = Field(ge=1, le=65_535)


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    certificate: str
    ca_certificate: str
    receipt_certificate: str
    broker: _Broker

    def to_model(self) -> Answer:
        """Return the answer in the terms enrolment uses."""
        return Answer(
            certificate=self.certificate,
            ca_certificate=self.ca_certificate,
            receipt_certificate=self.receipt_certificate,
            broker_host=self.broker.host,
            broker_port=self.broker.port,
        )


class _Problem(BaseModel):
    """What we read of a problem document (RFC 9457)."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    title: Annotated[str, Field(min_length=1, max_length=200)]


def post_enrolment(url: str, fields: dict[str, str]) -> Answer:
    """Return the service's answer to an enrolment.

    Not to be called where an event loop runs.

    Raises:
        TryLaterError: The service cannot be reached, or asks for patience.
        RefusedError: It does not take this claim.
        BadMessageError: Its answer is none.
    """
    try:
        status, body = asyncio.run(_post(f"{url.rstrip('/')}/v1/enrolments", fields))
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        raise TryLaterError(
            f"the service at {url} does not answer ({str(error) or type(error).__name__})",
            safe="The claim stays good; the doorbell's keys stay on its card.",
            do="the same command again, when the network is there",
        ) from error
    if httpx.codes.is_error(status):
        raise _refusal(status, body)
    try:
        return _Body.model_validate_json(body).to_model()
    except ValidationError as error:
        raise BadMessageError(
            "the service's answer to the enrolment is none",
            safe="The claim stays good; the doorbell's keys stay on its card.",
            do="look at the claim's address: is a Doorstep service there?",
        ) from error


async def _post(url: str, fields: dict[str, str]) -> tuple[int, bytes]:
    """Return status and body of the answer; of a body that is too long, its beginning.

    Raises:
        TimeoutError: It did not come to its end in time.
        httpx.HTTPError, httpx.InvalidURL: It did not come.
    """
    # What is packed small may unfold to gigabytes.
    headers = {"Accept-Encoding": "identity"}
    async with (
        asyncio.timeout(WHOLE_S),
        httpx.AsyncClient(timeout=TIMEOUT_S, headers=headers) as client,
        client.stream("POST", url, json=fields) as answer,
    ):
        body = b""
        async for piece in answer.aiter_raw():
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                break
        return answer.status_code, body[:MAX_ANSWER_BYTES]


def _refusal(status: int, body: bytes) -> DoorstepError:
    """Return what an answer with that error status means."""
    try:
        fact = _Problem.model_validate_json(body).title
    except ValidationError:
        fact = f"the service said {status}"
    if status >= _SERVER_ERROR or status == _TOO_MANY:
        return TryLaterError(fact, safe="The claim stays good.", do="the same command again")
    return RefusedError(
        fact,
        safe="This doorbell was not enrolled.",
        do="doorstep device add        (on your computer, for a new claim)",
    )
