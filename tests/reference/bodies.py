"""Which body travels on which topic, and the models that bodies are made of."""

from typing import Final

from pydantic import BaseModel

from doorstep_shared import signing, wire
from doorstep_shared.topics import Leaf
from doorstep_shared.transfer import messages

LEAVES: Final[dict[Leaf, type[BaseModel]]] = {
    Leaf.HELLO: wire.Hello,
    Leaf.RING: wire.Event,
    Leaf.MOTION: wire.Event,
    Leaf.CLIP: wire.Announcement,
    Leaf.HEALTH: wire.Health,
    Leaf.STATUS: wire.Status,
    Leaf.ACK: wire.Ack,
    Leaf.STATEMENTS: wire.Statements,
    Leaf.FILE_REPLY: messages._ReplyBody,
    Leaf.DELETE: signing.Signed,
    Leaf.DELETE_ANSWER: wire.Answer,
}

SAID: Final[dict[Leaf, str]] = {
    Leaf.HELLO: "A doorbell is here; answered by the statements that it has not seen.",
    Leaf.RING: "Somebody rang; resent until acknowledged.",
    Leaf.MOTION: "Something moved; resent until acknowledged.",
    Leaf.CLIP: "A clip exists: its signed manifest and its envelopes, at most 8 KiB.",
    Leaf.HEALTH: "How the doorbell is: every 60 s and on change, best effort.",
    Leaf.STATUS: "Online on connecting; the last will says offline.",
    Leaf.ACK: "What the service has committed; only this lets a doorbell forget.",
    Leaf.STATEMENTS: "Statements after the head named in `ev/hello`, oldest first.",
    Leaf.FILE_REPLY: "The answer to a message of a transfer.",
    Leaf.DELETE: "An owner's signed command to delete clips on the card.",
    Leaf.DELETE_ANSWER: "What the doorbell did about that command.",
}

# Those without a name of their own are called by what they are.
MODELS: Final[dict[str, type[BaseModel]]] = {
    **{model.__name__: model for model in LEAVES.values() if not model.__name__.startswith("_")},
    "StatementHead": wire.StatementHead,
    "Envelopes": wire.Envelopes,
    "RefusedClip": wire.RefusedClip,
    "Signature": signing.Signature,
    "init": messages._InitBody,
    "reply": messages._ReplyBody,
}


def name_of(model: type[BaseModel]) -> str:
    """Return what a model is called on the pages."""
    return next(name for name, one in MODELS.items() if one is model)
