"""The service's one HTTP route for doorbells: enrolment."""

from typing import Final

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from doorstep_device.enrolment import Answer
from doorstep_shared.errors import BadMessageError, DoorstepError, RefusedError, TryLaterError

TIMEOUT_S: Final = 20.0
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


def post_enrolment(url: str, fields: dict[str, str]) -> Answer:
    """Return the service's answer to an enrolment.

    Raises:
        TryLaterError: The service cannot be reached, or asks for patience.
        RefusedError: It does not take this claim.
        BadMessageError: Its answer is none.
    """
    try:
        answer = httpx.post(f"{url.rstrip('/')}/v1/enrolments", json=fields, timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TryLaterError(
            f"the service at {url} does not answer ({str(error) or type(error).__name__})",
            safe="The claim stays good; the doorbell's keys stay on its card.",
            do="the same command again, when the network is there",
        ) from error
    if answer.is_error:
        raise _refusal(answer)
    try:
        return _Body.model_validate_json(answer.content).to_model()
    except ValidationError as error:
        raise BadMessageError("the service's answer to the enrolment is none") from error


def _refusal(answer: httpx.Response) -> DoorstepError:
    """Return what a problem document (RFC 9457) of the service means."""
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    texts = problem if isinstance(problem, dict) else {}
    fact = str(texts.get("title") or f"the service said {answer.status_code}")
    if answer.status_code >= _SERVER_ERROR or answer.status_code == _TOO_MANY:
        return TryLaterError(fact, safe="The claim stays good.", do="the same command again")
    return RefusedError(
        fact,
        safe="This doorbell was not enrolled.",
        do="doorstep device add        (on your computer, for a new claim)",
    )
