"""The page at the root: what this is, whether it is well, where to go on."""

import base64
import hashlib
from importlib import resources
from typing import Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from jinja2 import Environment, StrictUndefined

from doorstep_cloud.web.health import ProbesDep

router: Final = APIRouter(tags=["health"])

_FILES: Final = resources.files("doorstep_cloud.web")
_STYLE: Final = _FILES.joinpath("page.css").read_text()
_PAGE: Final = Environment(autoescape=True, undefined=StrictUndefined).from_string(
    _FILES.joinpath("page.html").read_text()
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

# No script, no font, no picture: nothing is loaded, from here or from anybody else.
_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


@router.get("/", response_class=HTMLResponse)
def show_page(probes: ProbesDep) -> HTMLResponse:
    """Return a plain page about this service."""
    page = _PAGE.render(style=_STYLE, health=probes.ask())
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})
