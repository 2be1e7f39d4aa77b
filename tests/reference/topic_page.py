"""`docs/reference/topics.md`: every topic, who writes it, and what stands in its body."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

from doorstep_cloud.ingest.control import longest_body
from doorstep_shared.topics import ROOT, Command, Leaf, Way
from doorstep_shared.transfer.messages import MAX_INIT_BYTES, MAX_REPLY_BYTES
from doorstep_shared.wire import MAX_JSON_BYTES
from tests.reference.bodies import LEAVES, MODELS, SAID, name_of
from tests.reference.markdown import code, table
from tests.reference.sight import BODIES

_HEAD: Final = f"""\
# Topics

Every MQTT topic below `{ROOT}/{{shard}}/{{device}}/`, made from the code by `make reference`. All
are QoS 1 and none is retained. *Up* is written by the doorbell, *down* by the service; the broker
lets each doorbell write and hear its own and nothing else. Bodies are JSON unless it says
otherwise; a reader passes over fields it does not know. [Formats](../formats.md#on-the-wire) has
the order of things, and what is signed.
"""

_TRANSFERS: Final[Mapping[Command, str]] = {
    Command.INIT: "Begin or resume; sent only after the clip was announced.",
    Command.FIN: "All segments are sent. The body is empty.",
    Command.ABORT: "The object is given up. The body is empty.",
}


def page() -> str:
    """Return the page."""
    heads = ("topic", "way", "body", "at most", "what it is for")
    parts = [_HEAD, table(heads, [*_leaves(), *_transfers()]), "## Bodies\n"]
    for name, model in MODELS.items():
        parts += [f"### {name}\n", table(("field", "takes", "what it says"), _fields(name, model))]
    return "\n".join(parts)


def _leaves() -> Iterator[tuple[str, str, str, str, str]]:
    for leaf in Leaf:
        name = name_of(LEAVES[leaf])
        body = f"[{name}](#{name.lower()})"
        yield code(leaf.levels), leaf.way.value, body, _kib(_longest(leaf)), SAID[leaf]


def _transfers() -> Iterator[tuple[str, str, str, str, str]]:
    root = "f/{clip}/{file|thumb|details}"
    for command, words in _TRANSFERS.items():
        is_init = command is Command.INIT
        body, longest = ("[init](#init)", _kib(MAX_INIT_BYTES)) if is_init else ("-", "0")
        yield code(f"{root}/{command.value}"), Way.UP.value, body, longest, words
    words = "Sealed bytes of the object from this offset, a multiple of the segment's size."
    yield code(f"{root}/{{offset}}"), Way.UP.value, "bytes", "128 KiB", words


def _longest(leaf: Leaf) -> int:
    if leaf.way is Way.UP:
        return longest_body(leaf)
    return MAX_REPLY_BYTES if leaf is Leaf.FILE_REPLY else MAX_JSON_BYTES


def _kib(size: int) -> str:
    return f"{size / 1024:g} KiB"


def _fields(name: str, model: type[BaseModel]) -> Iterator[tuple[str, str, str]]:
    schema = model.model_json_schema()
    required = schema.get("required", ())
    for field, shape in schema["properties"].items():
        takes = _shape(shape) + ("" if field in required else "; may be absent")
        yield code(field), takes, BODIES[name][field].words


# The value type is that of JSON schemas.
def _shape(shape: Mapping[str, Any]) -> str:
    """Return in words what a JSON schema takes."""
    if "anyOf" in shape:
        return " or ".join(_shape(one) for one in shape["anyOf"])
    if "$ref" in shape:
        return str(shape["$ref"].rpartition("/")[2])
    if "const" in shape:
        return code(str(shape["const"]))
    if shape.get("type") == "array":
        items = shape.get("items") or {"type": "pair"}
        most = f", at most {shape['maxItems']}" if "maxItems" in shape else ""
        return f"list of {_shape(items)}{most}"
    words = str(shape.get("type", "value"))
    limits = {"minimum": "≥ ", "maximum": "≤ ", "maxLength": "length ≤ ", "pattern": ""}
    found = [f"{sign}{shape[key]}" for key, sign in limits.items() if key in shape]
    return ", ".join([words, *map(code, found)]) if found else words
