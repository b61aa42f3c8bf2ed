"""The compiled half of one bind, without a socket: what the micro-benchmarks of a turn need around them."""

from _fastpath.backlog import Backlog
from _fastpath.batch import read_batches
from _fastpath.exchange import Exchange
from _fastpath.ledger import Ledger
from _fastpath.outbound import Form
from _fastpath.template import Template
from _fastpath.throttle import Throttle
from _fastpath.window import Window
from benchmarks import corpus
from gateway.smpp import status

NOW = 1000.0


class Turns:
    """One bind that goes round again and again, as a busy one does: its buffers are warm and its memory is not empty.

    A round is claim, send, answer, and receipts where they are measured; each continues the sequence numbers and
    message_ids of the round before. The window has room for every segment of a batch, and the watermark covers it.

    per_s   limit of the throttle in PDUs a second; 0 = none
    """

    def __init__(self, case: corpus.Case, messages: int, per_s: int = 0):
        self.pdus = messages * case.segments
        throttle = Throttle(per_s)
        # A new throttle holds one PDU: from its first question on it fills.
        throttle.allowance(NOW - 60)
        self.exchange = Exchange(Window(self.pdus), throttle, Backlog(), Ledger(1), status.table())
        self.exchange.may_submit = self.exchange.takes_responses = self.exchange.takes_deliveries = True
        self.exchange.answers_at_once = True
        # As after the first 200 receipts of an account; these name numbers in another order than they were sent in.
        self.exchange.ledger.recall.set_rule("verbatim")
        self._form = Form(Template(case.template), source=corpus.SOURCE)
        self._claimed = corpus.claimed(case, messages)
        self._chunk_id = 0
        self._sent = self._answered = self._receipted = 0
        self.now = NOW

    def claim(self) -> None:
        """Put a batch into the backlog, and let a second pass, for the throttle."""
        self._chunk_id += 1
        at = corpus.CHUNK_ID_AT
        octets = self._claimed[:at] + self._chunk_id.to_bytes(8, "big") + self._claimed[at + 8 :]
        [batch] = read_batches(octets)
        batch.dress(self._form)
        batch.commit(batch.n)
        self.exchange.backlog.take_finished()
        self.exchange.backlog.add(batch)
        self.now += 2.0

    def fill(self) -> int:
        """Compose all of it into the outbox; -> submit_sm written."""
        written = int(self.exchange.fill(self.now))
        self._sent += written
        return written

    def send(self) -> None:
        """The same, and let the octets go."""
        if self.fill() != self.pdus:
            raise AssertionError(f"not all of {self.pdus} segments were composed: {self.exchange.bound_by}")
        self.exchange.take_output()

    def responses(self) -> bytes:
        """Make one read that answers all that is in flight."""
        octets = corpus.responses(self._answered + 1, self.pdus, self._answered)
        self._answered += self.pdus
        return octets

    def receipts(self, tlvs: bool = True) -> bytes:
        """Make one read of a receipt for each answered segment that has none."""
        octets = corpus.receipts(self.pdus, self._receipted, self._receipted + 1, tlvs)
        self._receipted += self.pdus
        return octets

    def read(self, octets: bytes) -> None:
        """Take one read in."""
        self.exchange.feed(octets, self.now)

    def settle(self) -> None:
        """Let go of the rows and of what waits to be written, as a flush and a write would."""
        ledger = self.exchange.ledger
        for rows in (ledger.outcomes, ledger.receipts, ledger.waiting):
            rows.take()
        self.exchange.take_output()
