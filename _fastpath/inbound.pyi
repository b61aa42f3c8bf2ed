from collections.abc import Mapping
from typing import TypedDict, final

class _Fields(TypedDict):
    message_id: bytes
    state: int
    err: bytes | None
    done_at_us: int | None

class _Receipt(_Fields):
    sequence_number: int
    number: int | None
    other: int | None
    text: bytes

@final
class Reading:
    zone_s: float
    def __init__(
        self, recognised_by: str = "esm_class", prefers: str = "tlv", states: Mapping[str, int] | None = None
    ) -> None: ...
    def read(
        self, text: bytes, message_id: bytes | None, state: int | None, network_error: bytes | None, is_typed: bool
    ) -> _Fields | None: ...

def receipt(pdu: bytes, reading: Reading | None = None) -> _Receipt | None: ...
