"""An agency and its questions made from fixed seeds, for every test that needs one."""

from typing import Final

from doorstep_shared.age_keys import Identity
from doorstep_shared.agencies import AgencyRecord, sign_agency
from doorstep_shared.areas import draw_area
from doorstep_shared.consent import AgencyKind
from doorstep_shared.ids import AgencyId, RequestId
from doorstep_shared.requests import AssistanceRequest, Purpose
from doorstep_shared.signing import SigningKey
from tests.people import DAY_MS, NOW_MS, random_from

HOUR_MS: Final = 3600 * 1000

OPERATOR: Final = SigningKey.generate(random_from("operator/first"))
OTHER_OPERATOR: Final = SigningKey.generate(random_from("operator/other"))
OPERATORS: Final = (OPERATOR.public, OTHER_OPERATOR.public)

AGENCY_KEY: Final = SigningKey.generate(random_from("agency"))
AGENCY: Final = AgencyRecord(
    agency=AgencyId("a" * 26),
    name="Police of Neustadt",
    kind=AgencyKind.POLICE,
    contact="desk@police.neustadt.example, +49 30 5550100",
    agreement_url="https://police.neustadt.example/doorstep.pdf",
    agreement_sha256=bytes(range(32)),
    sign_key=AGENCY_KEY.public.raw,
    at=NOW_MS - 30 * DAY_MS,
)
SIGNED_AGENCY: Final = sign_agency(AGENCY, OPERATOR, OTHER_OPERATOR)

PLACE: Final = (52.5163, 13.3777)
REQUEST_IDENTITY: Final = Identity.generate(random_from("request"))
REQUEST: Final = AssistanceRequest(
    request=RequestId("r" * 26),
    agency=AGENCY.agency,
    reference="NB-2026/1147",
    purpose=Purpose.BURGLARY,
    question="A house in Lindenstraße was broken into.\nDid anybody carry a ladder past yours?",
    start=NOW_MS - 4 * HOUR_MS,
    end=NOW_MS - 2 * HOUR_MS,
    cells=draw_area(*PLACE),
    recipient=str(REQUEST_IDENTITY.recipient()),
    at=NOW_MS - HOUR_MS,
    closes_at=NOW_MS + DAY_MS,
)
