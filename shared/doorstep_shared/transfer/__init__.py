"""One object's way from the doorbell to the service, over MQTT (docs/transfer.md).

`Sender` and `Receiver` are state machines without I/O: events in, actions out.
"""

from doorstep_shared.transfer.messages import (
    CHUNK_BYTES,
    Code,
    Init,
    Reason,
    Reply,
    Subject,
    decode_init,
    decode_reply,
    encode_init,
    encode_reply,
)
from doorstep_shared.transfer.ranges import Ranges
from doorstep_shared.transfer.receiver import (
    Discard,
    Quarantine,
    Receiver,
    ReceiverAction,
    ReceiverState,
    SendReceipt,
    Store,
    WriteSegment,
)
from doorstep_shared.transfer.sender import (
    Announce,
    Finished,
    GaveUp,
    SendAbort,
    Sender,
    SenderAction,
    SenderState,
    SendFin,
    SendInit,
    SendSegment,
)
from doorstep_shared.transfer.spool import Spool, read_journal

__all__ = [
    "CHUNK_BYTES",
    "Announce",
    "Code",
    "Discard",
    "Finished",
    "GaveUp",
    "Init",
    "Quarantine",
    "Ranges",
    "Reason",
    "Receiver",
    "ReceiverAction",
    "ReceiverState",
    "Reply",
    "SendAbort",
    "SendFin",
    "SendInit",
    "SendReceipt",
    "SendSegment",
    "Sender",
    "SenderAction",
    "SenderState",
    "Spool",
    "Store",
    "Subject",
    "WriteSegment",
    "decode_init",
    "decode_reply",
    "encode_init",
    "encode_reply",
    "read_journal",
]
