from typing import final

from typing_extensions import disjoint_base

SIGNATURE: bytes
OUTCOME_COLUMNS: tuple[str, ...]
RECEIPT_COLUMNS: tuple[str, ...]
WAITING_COLUMNS: tuple[str, ...]

@disjoint_base
class Rows:
    @property
    def count(self) -> int: ...
    @property
    def octets(self) -> int: ...
    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def take(self) -> bytes: ...

@final
class OutcomeRows(Rows):
    @property
    def lane(self) -> int: ...
    def __init__(self, lane: int) -> None: ...
    def add_row(
        self,
        chunk_id: int,
        pos: int,
        segment: int,
        segments: int,
        epoch: int,
        status: int,
        at_us: int,
        rtt_us: int,
        message_id: bytes | None,
    ) -> None: ...

@final
class ReceiptRows(Rows):
    @property
    def lane(self) -> int: ...
    def __init__(self, lane: int) -> None: ...

@final
class WaitingRows(Rows):
    @property
    def lane(self) -> int: ...
    def __init__(self, lane: int) -> None: ...
