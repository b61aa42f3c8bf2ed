from typing import TypedDict

class _Receipt(TypedDict):
    sequence_number: int
    message_id: bytes
    state: int
    err: bytes | None
    done_at_us: int | None
    number: int | None
    text: bytes

def receipt(pdu: bytes) -> _Receipt | None: ...
