from collections.abc import Mapping, Sequence
from typing import Any, final

SHAPE: Mapping[str, Any]

@final
class Centre:
    """One message centre: its accounts, links, timers, fates and ledger. Not safe for use by two threads."""

    def __init__(
        self,
        now_ns: int,
        *,
        seed: int = 0,
        epoch_ns: int = 0,
        first_id: int = 268435456,
        accounts: Sequence[tuple[str, int, int]] = (("test", 0, 0),),
        limit: str = "none",
        limit_status: int = 0x58,
        window_status: int = 0x58,
        gap_slack: float = 0.1,
        delay_ns: int = 0,
        jitter_ns: int = 0,
        late_share: float = 0.0,
        late_ns: int = 5_000_000,
        silent_share: float = 0.0,
        errors: Sequence[tuple[int, float]] = (),
        receipts: str = "requested",
        receipt_delay_ns: int = 0,
        receipt_jitter_ns: int = 0,
        states: Sequence[tuple[str, int, str, float]] = (("DELIVRD", 2, "000", 1.0),),
        early_share: float = 0.0,
        early_ns: int = 0,
        duplicate_share: float = 0.0,
        missing_share: float = 0.0,
        receipt_swap: bool = True,
        receipt_window: int = 0,
        retry_ns: int = 1_000_000_000,
        retries: int = 5,
        shapes: Sequence[Mapping[str, Any]] = ({},),
        error_body: int = 0,
        congestion: int = -1,
        drop_every: int = 0,
        drop_share: float = 0.0,
        drop_answers: bool = False,
        inbound_texts: Sequence[tuple[Sequence[bytes], int]] = (),
        inbound_source: bytes = b"447700900123",
        inbound_destination: bytes = b"12345",
        inbound_per_s: float = 0.0,
        inbound_how: int = 2,
        inbound_duplicate_share: float = 0.0,
        reply_share: float = 0.0,
        reply_delay_ns: int = 0,
        ledger: bool = False,
        ledger_text: bool = False,
    ) -> None: ...
    @property
    def other(self) -> bytes | None: ...
    def open(self) -> int: ...
    def bind(self, number: int, account: int, tx: bool, rx: bool, version: int, now_ns: int) -> None: ...
    def unbind(self, number: int) -> None: ...
    def close(self, number: int, now_ns: int) -> None: ...
    def turn(self, number: int, octets: bytes | bytearray | memoryview, start: int, end: int, now_ns: int) -> int: ...
    def accept(
        self,
        number: int,
        sequence: int,
        command: int,
        source: tuple[int, int, bytes],
        destination: tuple[int, int, bytes],
        esm_class: int,
        registered: int,
        data_coding: int,
        text: bytes,
        now_ns: int,
        message_id: bytes | None = None,
    ) -> tuple[int, bytes]: ...
    def state_of(self, message_id: bytes, now_ns: int, source: bytes | None = None) -> tuple[int, int] | None: ...
    def cancel(self, message_id: bytes, now_ns: int, source: bytes | None = None) -> bool: ...
    def set_tps(self, account: int, tps: int, gap_slack: float = 0.1) -> None: ...
    def advance(self, now_ns: int) -> None: ...
    def next_due(self) -> int: ...
    def dirty(self) -> list[int]: ...
    def write(self, number: int, octets: bytes | bytearray | memoryview) -> None: ...
    def pending(self, number: int) -> memoryview | None: ...
    def handed(self, number: int, octets: int, now_ns: int) -> int: ...
    def backlog(self, number: int) -> int: ...
    def next_sequence(self, number: int) -> int: ...
    def is_cut(self, number: int) -> bool: ...
    def unanswered(self, number: int) -> int: ...
    def waiting(self) -> tuple[int, int]: ...
    def note(self, line: bytes) -> None: ...
    def take_ledger(self) -> bytes | None: ...
    def totals(self) -> dict[str, int]: ...
