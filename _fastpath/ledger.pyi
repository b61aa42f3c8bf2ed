from typing import Any, final

from _fastpath.batch import Batch
from _fastpath.copyrows import OutcomeRows, ReceiptRows, WaitingRows
from _fastpath.histogram import Histogram
from _fastpath.inbound import Reading
from _fastpath.recall import Recall

@final
class Ledger:
    wall_offset_us: int
    submitted: int
    responses: int
    accepted: int
    throttled: int
    retried: int
    rejected: int
    refused: int
    suppressed: int
    uncertain: int
    receipts_matched: int
    receipts_waiting: int
    unknown_responses: int
    octets_in: int
    octets_out: int
    transliterated: int
    segments_saved: int
    receipt_states: list[int]
    congestion: int
    nameless: int
    @property
    def outcomes(self) -> OutcomeRows: ...
    @property
    def receipts(self) -> ReceiptRows: ...
    @property
    def waiting(self) -> WaitingRows: ...
    @property
    def recall(self) -> Recall: ...
    @property
    def reading(self) -> Reading: ...
    @property
    def submit_to_response(self) -> Histogram: ...
    @property
    def submit_to_receipt(self) -> Histogram: ...
    def __init__(self, lane: int, recall_capacity: int = ..., reading: Reading | None = None) -> None: ...
    def take_receipt(
        self,
        message_id: bytes,
        state: int,
        err: bytes | None,
        number: int | None,
        raw: bytes,
        now: float,
        other: int | None = None,
        done_at_us: int | None = None,
    ) -> None: ...
    @property
    def queue_full(self) -> int: ...
    def give_up(self, batch: Batch, pos: int, segment: int, segments: int, status: int, now: float) -> None: ...
    def counts(self) -> dict[str, Any]: ...
    def refusals(self) -> dict[int, int]: ...
    def messages_by_segments(self) -> dict[int, int]: ...
