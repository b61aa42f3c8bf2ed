"""What must hold, at every octet and at the end: the invariants of the write protocol, on what both sides show.

    a gateway's write ─► A2 intent before octets · T1 sliding second · T2 window · O1 order of segments
    the end           ─► A1 conservation · A3 duplicates explained · A4 sent is true · A5 doubt is bounded ·
                         A6 no outcome twice · A7 late responses are believed · R1 answered receipts are kept

The carrier's truth is the simulator's ledger, the gateway's the committed rows of its tables; a number gets one message
of a run, so it joins the two without trusting either. What is found wrong is said once a kind and message, with the
moment and the biography of the message. Situations that a run of many seeds must have met are counted in `reached`.

Not here: what is done to the gateway (world.py).
"""

import itertools
import struct
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from _fastpath.batch import stride_of
from gateway.message import MessageClass, Policy, Refusal
from gateway.simulator import ledger
from tests.simulation.gated import MOST_RUNS, PERSON, GateChecks, GatePlan
from tests.simulation.loop import SimLoop
from tests.simulation.network import TO_SERVER, Connection

SUBMIT, SUBMIT_RESP, DELIVER_RESP = 0x00000004, 0x80000004, 0x80000005
BIND_TRANSMITTER, BIND_TRANSCEIVER = 2, 9
# Sequence numbers of the STOPs that the world has its handsets say.
FIRST_HANDSET = 0x70000000
# So long after its COMMIT a STOP lets no promotional message begin, as clocks of hosts see it.
STOP_S = 1.0 + 1e-3
# Of each kind of violation so many are told in full.
MOST = 3

_header = struct.Struct(">IIII")

# What a run of many seeds must have met, or it looks away: a name, and what it means.
SITUATIONS = {
    "session_lost_in_flight": "a session ended with submit_sm unanswered",
    "throttled": "the carrier refused for its rate",
    "refused": "the carrier refused a message for good or for a while",
    "late_response": "a response came behind its timer, on the same session",
    "early_receipt": "a receipt came before its response",
    "duplicate_receipt": "a receipt came twice",
    "window_full": "a window was full",
    "parts": "a message had several segments",
    "worker_killed_in_flight": "a worker was killed with submit_sm unanswered",
    "worker_frozen": "a worker was stopped, and went on",
    "worker_drained": "a worker was asked to end, and nothing on its links was unanswered when they ended",
    "rolled": "all workers were asked to end and started again, one after the other",
    "worker_fenced": "a worker that had stood still found that others had taken it for dead",
    "taken_over": "a worker ended, another was there, and ten seconds later nothing was the dead one's",
    "slot_moved": "a bind of an account went from one worker to another",
    "share_lowered": "a worker's share of an account's rate was lowered",
    "stop_queued": "a STOP met a message that was queued",
    "stop_during_intent": "a STOP met a message below a committed watermark that was not written yet",
    "stop_written": "a STOP met a message that was written and not answered",
    "stop_parts": "of a message of several parts that had begun the rest followed its STOP",
    "stop_while_feed_stale": "a STOP was committed while a worker had not read the feed for a second",
    "stop_fenced": "a STOP was acknowledged by fencing a worker that did not confirm it",
    "stop_gone": "a STOP was acknowledged though a worker that had not confirmed it had died on the same machine",
    "stop_by_handset": "a handset's STOP was answered",
    "suppressed": "a message was not sent, for its STOP",
    "cancelled": "a message was not sent, for its run was cancelled",
    "cancel_too_late": "a run was cancelled when a message of it was written and not answered",
    "cancel_refused": "somebody was not enqueued, for the run was cancelled",
    "cancel_fenced": "a cancel was acknowledged by fencing a worker that did not obey it",
    "smsc_killed": "the carrier's SMSC died and came back",
    "doubt_written": "a segment was written down as in doubt",
    "doubt_settled": "a segment in doubt was settled by an answer or a receipt",
    "repeated": "a segment in doubt was sent again under at_least_once",
    "stale_epoch": "a watermark or a chunk's end was refused to a worker who had lost the chunk",
    "flush_twice": "a flush whose COMMIT got no answer was tried again and was known",
    "store_lost": "connections to Postgres died",
    "store_frozen": "Postgres stood still",
    "commit_unknown": "a COMMIT was carried out and its answer lost",
    "moved": "messages went to another lane",
    "unconsented": "somebody without consent was refused",
    "capped": "somebody was refused for a cap",
    "put_off": "a chunk waited for its window, or a gap",
    "put_aside": "some of a chunk waited, in a chunk of their own",
    "validity": "a message was written with a validity",
}


class Stop:
    """A number's first STOP. last_at: when a message to it was begun last, after the COMMIT."""

    __slots__ = ("acknowledged_at", "committed_at", "last_at")

    def __init__(self, committed_at: float):
        self.committed_at = committed_at
        self.acknowledged_at: float | None = None
        self.last_at: float | None = None


class Session:
    """One connection as a wire-tap sees it."""

    def __init__(self, carrier: Any, owner: str, drift: float = 0.0):
        self.carrier = carrier
        # What an answer may take by the owner's clock, in true seconds.
        self.patience_s = carrier.response_timeout_s / (1.0 + drift) - 1e-6
        # The instance whose it is, and whether it may submit.
        self.owner = owner
        self.is_sender = False
        self.rest = [b"", b""]
        # sequence_number of what is unanswered → when it was written.
        self.outstanding: dict[int, float] = {}
        self.numbers: dict[int, int] = {}
        self.is_over = False
        # sequence_number of what was given up → whose it is.
        self.timed_out: dict[int, int] = {}


class Checks:
    """Watches one world.

    store     committed rows: chunks(), payloads(), outcomes(), receipts() … (world.Store)
    carriers  by address: name, lane, tps, window, response_timeout_s (world.CarrierPlan)
    in_scope  the class of each number whose message a STOP reaches
    gate      what is asked of people (gated.py): a message's number is its key then; None: nothing
    """

    def __init__(
        self,
        loop: SimLoop,
        store: Any,
        carriers: dict[tuple[str, int], Any],
        seed: int,
        in_scope: dict[int, MessageClass],
        gate: GatePlan | None = None,
    ):
        self.in_scope = in_scope
        self.stops: dict[int, Stop] = {}
        self.acknowledged = 0
        # Messages of runs that somebody has asked to cancel, and those of which it was acknowledged.
        self.cancel_asked: dict[int, None] = {}
        self.cancel_held: dict[int, None] = {}
        self.stop_acks: list[float] = []
        # STOPs that handsets have said: number by sequence_number; whom to tell that one was answered.
        self.handsets: dict[int, int] = {}
        self.on_handset_answered: Callable[[int, None], Any] = lambda sequence, default: None
        # Messages of which something was written: of those several parts may follow.
        self.begun: dict[int, None] = {}
        # Unanswered submit_sm on sessions that ended, by instance.
        self.lost_of: Counter[str] = Counter()
        self.doubted = 0
        # Acceptances that came behind their timer: (instance, number, message_id); instances that did not end in order.
        self.late: list[tuple[str, int, str]] = []
        self.broken: dict[str, None] = {}
        self.loop, self.store, self.carriers, self.seed = loop, store, carriers, seed
        self.violations: list[str] = []
        self.reached: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.sessions: dict[int, Session] = {}
        self.written: dict[str, deque[float]] = {}
        self.submits = 0
        # Segments that may be in doubt, by what happened; see A5.
        self.may_doubt = 0
        self.lives: dict[int, list[tuple[float, str, tuple[Any, ...]]]] = {}
        # At the end: the outcomes of each number.
        self.rows: dict[int, list[Any]] = {}
        self._places: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self._known_payloads = 0
        self._order: dict[tuple[int, int, bytes], int] = {}
        self._is_over = False
        self.gate = None if gate is None else GateChecks(gate, self.say, self.reached)

    def say(self, kind: str, text: str, number: int = 0) -> None:
        """Note a violation."""
        self.told[kind] += 1
        if self.told[kind] <= MOST:
            told = "".join(f"\n      {line}" for line in self.life_of(number))
            self.violations.append(f"seed {self.seed} at {self.loop.now:.6f} s: {kind}: {text}{told}")

    def note(self, number: int, text: str, *values: Any) -> None:
        """Write into a message's biography; it is put into words where somebody asks for it."""
        self.lives.setdefault(number, []).append((self.loop.now, text, values))

    def life_of(self, number: int) -> list[str]:
        """Tell the biography of a message, and at the end its rows."""
        told = [f"{at:.6f} {text.format(*values)}" for at, text, values in self.lives.get(number, ())]
        return told + [
            f"outcome lane {row.lane} chunk {row.chunk_id} pos {row.pos} part {row.segment}/{row.segments} "
            f"epoch {row.epoch} status {row.status} id {row.message_id} at {row.at:%H:%M:%S.%f}"
            for row in self.rows.get(number, ())
        ]

    # -- the wire ---------------------------------------------------------------------------------------------------

    def on_write(self, connection: Connection, side: int, octets: bytes) -> None:
        """An end has written: the gateway's half is judged here."""
        if side == TO_SERVER:
            self._pdus(connection, side, octets)

    def on_read(self, connection: Connection, side: int, octets: bytes) -> None:
        """An end has taken octets: the gateway's half is judged here."""
        if side != TO_SERVER:
            self._pdus(connection, side, octets)

    def _pdus(self, connection: Connection, side: int, octets: bytes) -> None:
        session = self.sessions.get(connection.number)
        if session is None:
            host = connection.ends[TO_SERVER].host
            name, drift = ("", 0.0) if host is None else (host.name, host.drift)
            session = self.sessions[connection.number] = Session(self.carriers[connection.address], name, drift)
        if session.rest[side]:
            octets = session.rest[side] + octets
        at, end = 0, len(octets)
        while end - at >= 16:
            length, command, status, sequence = _header.unpack_from(octets, at)
            if length < 16 or end - at < length:
                break
            if command == SUBMIT:
                self._submitted(connection, session, sequence, octets[at : at + length])
            elif command == SUBMIT_RESP and side != TO_SERVER:
                self._answered(session, sequence, status, octets[at + 16 : at + length])
            elif side == TO_SERVER and command in (BIND_TRANSMITTER, BIND_TRANSCEIVER):
                self._binds(session)
            elif command == DELIVER_RESP and sequence in self.handsets and status == 0 and side == TO_SERVER:
                self._handset_answered(sequence)
            at += length
        session.rest[side] = octets[at:]

    def _submitted(self, connection: Connection, session: Session, sequence: int, pdu: bytes) -> None:
        carrier, now = session.carrier, self.loop.now
        self.submits += 1
        person, place = destination_of(pdu)
        number = person
        if self.gate is not None:
            number = self.gate.key_of(person, pdu)
            self.gate.submitted(number, pdu, now, session.owner)
        self.note(
            number,
            "written to {}, connection {}, sequence {}, part {}",
            carrier.name,
            connection.number,
            sequence,
            place,
        )
        # A2: below a committed watermark of a chunk that holds it.
        if not self._is_intended(carrier.lane, number):
            self.say("A2", f"{number} was written to {carrier.name} and no committed watermark covers it", number)
        # F1: who was fenced, or has left, writes nothing.
        if not self.store.is_registered(session.owner):
            self.say("F1", f"{number} was written by {session.owner}, which is not registered any more", number)
        # S1: nothing begins behind an acknowledgement, and nothing promotional a second behind the COMMIT.
        if person in self.stops and person in self.in_scope:
            self._stopped(person, number, place)
        # C1: nothing of a cancelled run begins behind the acknowledgement; of what has begun the other parts follow.
        if number in self.cancel_held and not (place[1] > 1 and number in self.begun):
            self.say("C1", f"{number} was written to after the cancel of its run was acknowledged", number)
        self.begun[number] = None
        # T1: counted where the gateway writes, over all its processes.
        if carrier.tps:
            times = self.written.setdefault(carrier.name, deque())
            while times and times[0] <= now - 1.0 + 1e-5:
                times.popleft()
            times.append(now)
            if len(times) > carrier.tps:
                self.say(
                    "T1", f"{len(times)} submit_sm within a second to {carrier.name}, at most {carrier.tps}", number
                )
        # T2: what our timer has given up is not counted, though the carrier may still answer it.
        if sequence in session.outstanding:
            self.say("T2", f"sequence {sequence} is used again on connection {connection.number}", number)
        session.outstanding[sequence] = now
        session.numbers[sequence] = number
        if len(session.outstanding) >= carrier.window:
            self.reached["window_full"] += 1
            self._expire(session, now)
            if len(session.outstanding) > carrier.window:
                self.say(
                    "T2",
                    f"{len(session.outstanding)} unanswered on connection {connection.number} of {carrier.name}, "
                    f"at most {carrier.window}",
                    number,
                )
        # O1: the parts of a message in order, the first time each of them leaves.
        if place[0] > 1:
            self.reached["parts"] += 1
            key = carrier.lane, number, place[2]
            last = self._order.get(key, 0)
            if place[1] > last + 1:
                self.say("O1", f"part {place[1]} of {number} left behind part {last}", number)
            self._order[key] = max(last, place[1])

    def _stopped(self, person: int, number: int, place: tuple[int, int, bytes]) -> None:
        stop, now = self.stops[person], self.loop.now
        if place[1] > 1 and number in self.begun:
            self.reached["stop_parts"] += 1
            return
        stop.last_at = now
        if stop.acknowledged_at is not None:
            self.say(
                "S1", f"{number} was written to after its STOP was acknowledged at {stop.acknowledged_at:.6f}", number
            )
        elif self.in_scope[person] != MessageClass.TRANSACTIONAL and now - stop.committed_at > STOP_S:
            self.say(
                "S1", f"{number} was written to {now - stop.committed_at:.3f} s after the COMMIT of its STOP", number
            )

    def stop_committed(self, number: int, store: Any) -> bool:
        """Hear that a STOP is in the feed; -> whether it is the number's first."""
        if number in self.stops:
            return False
        self.stops[number] = Stop(self.loop.now)
        self.note(number, "STOP committed")
        for carrier, key in itertools.product(self.carriers.values(), self._keys_of(number)):
            for chunk_id, rank in self._places.get((carrier.lane, key), ()):
                is_intended = store.sent_upto(carrier.lane, chunk_id) > rank
                if key not in self.begun:
                    self.reached["stop_during_intent" if is_intended else "stop_queued"] += 1
        if any(one in self._keys_of(number) for session in self.sessions.values() for one in session.numbers.values()):
            self.reached["stop_written"] += 1
        return True

    def _keys_of(self, number: int) -> tuple[int, ...]:
        """The messages of a number, of which one may be on its way."""
        return (number,) if self.gate is None else tuple(place * PERSON + number for place in range(MOST_RUNS))

    def stop_acknowledged(self, number: int) -> None:
        """Hear that nobody can write to a number any more."""
        stop = self.stops.get(number)
        if stop is None:
            self.say("S1", f"the STOP of {number} is acknowledged and not in the feed", number)
        elif stop.acknowledged_at is None:
            stop.acknowledged_at = self.loop.now
            self.acknowledged += 1
            self.stop_acks.append(round(self.loop.now - stop.committed_at, 6))
            self.note(number, "STOP acknowledged")

    def cancel_ordered(self, keys: list[int]) -> None:
        """Hear that somebody is about to cancel a run."""
        self.cancel_asked.update(dict.fromkeys(keys))
        asked = set(keys)
        if any(one in asked for session in self.sessions.values() for one in session.numbers.values()):
            self.reached["cancel_too_late"] += 1

    def cancel_acknowledged(self, keys: list[int]) -> None:
        """Hear that nothing more of a run is begun."""
        self.cancel_held.update(dict.fromkeys(keys))

    def _handset_answered(self, sequence: int) -> None:
        if self.on_handset_answered(sequence, None) is not None:
            self.reached["stop_by_handset"] += 1
        self.stop_acknowledged(self.handsets[sequence])

    def _binds(self, session: Session) -> None:
        """T2: an account has so many binds at most, of workers that are not taken for dead."""
        session.is_sender = True
        alive = self.loop.network.connections
        open_ = sum(
            1
            for number, one in self.sessions.items()
            if one.is_sender and not one.is_over and number in alive and one.carrier is session.carrier
            and self.store.is_registered(one.owner)
        )  # fmt: skip
        if open_ > session.carrier.binds:
            self.say("T2", f"{open_} binds of {session.carrier.name}, at most {session.carrier.binds}")

    def _expire(self, session: Session, now: float) -> None:
        for sequence, at in list(session.outstanding.items()):
            if now - at >= session.patience_s:
                del session.outstanding[sequence]
                session.timed_out[sequence] = session.numbers.pop(sequence, 0)
                self.may_doubt += 1

    def _answered(self, session: Session, sequence: int, status: int, body: bytes) -> None:
        at = session.outstanding.pop(sequence, None)
        number = session.numbers.pop(sequence, 0)
        is_late = False
        if at is None:
            number = session.timed_out.pop(sequence, 0)
            is_late = number > 0
        elif self.loop.now - at >= session.carrier.response_timeout_s:
            self.may_doubt += 1
            is_late = True
        if self.gate is not None and number:
            self.gate.answered(number, status)
        if is_late:
            self.reached["late_response"] += 1
            if status == 0:
                self.late.append((session.owner, number, body.rstrip(b"\0").decode()))
        if status in (0x58, 0x14):
            self.reached["throttled"] += 1
        elif status:
            self.reached["refused"] += 1

    def on_end(self, connection: Connection) -> None:
        """A connection is over: what is unanswered on it may be in doubt."""
        session = self.sessions.get(connection.number)
        if session is not None:
            session.is_over = True
        if session is not None and session.outstanding:
            self.may_doubt += len(session.outstanding)
            self._expire(session, self.loop.now)
            self.lost_of[session.owner] += len(session.outstanding)
            session.outstanding.clear()
            session.numbers.clear()
            self.reached["session_lost_in_flight"] += 1

    def in_flight(self) -> int:
        """Submit_sm unanswered on all connections that live."""
        alive = self.loop.network.connections
        return sum(len(session.outstanding) for number, session in self.sessions.items() if number in alive)

    # -- where a number stands --------------------------------------------------------------------------------------

    def _look_up(self) -> None:
        payloads = self.store.payloads()
        for lane, chunk_id, numbers in payloads[self._known_payloads :]:
            n = len(numbers)
            stride = stride_of(n)
            for rank in range(n):
                number = numbers[(rank * stride + chunk_id) % n]
                self._places.setdefault((lane, number), []).append((chunk_id, rank))
        self._known_payloads = len(payloads)

    def _is_intended(self, lane: int, number: int) -> bool:
        for chunk_id, rank in self._places.get((lane, number), ()):
            if self.store.sent_upto(lane, chunk_id) > rank:
                return True
        self._look_up()
        return any(
            self.store.sent_upto(lane, chunk_id) > rank for chunk_id, rank in self._places.get((lane, number), ())
        )

    # -- the end ----------------------------------------------------------------------------------------------------

    def at_end(self, runs: list[Any], ledgers: dict[str, Any], extra_doubt: int) -> None:
        """Judge what is left when everything is over.

        runs         (policy, numbers, parts) of each (world.RunPlan)
        ledgers      the simulator's lines by the carrier's name
        extra_doubt  segments that kills may have put in doubt beside the open windows
        """
        numbers_of, rows = {}, {}
        self._look_up()
        for lane, chunk_id, numbers in self.store.payloads():
            numbers_of[lane, chunk_id] = numbers
        for row in self.store.outcomes():
            rows.setdefault(numbers_of[row.lane, row.chunk_id][row.pos], []).append(row)
        repeated: Counter[int] = Counter()
        for lane, chunk_id, pos in self.store.repeated():
            repeated[numbers_of[lane, chunk_id][pos]] += 1
        lane_of = {carrier.name: carrier.lane for carrier in self.carriers.values()}
        copies: Counter[tuple[int, tuple[int, int]]] = Counter()
        # Of these, what the carrier said in the end that it has not delivered.
        undelivered: Counter[tuple[int, tuple[int, int]]] = Counter()
        accepted: dict[tuple[int, str], int] = {}
        answered: dict[tuple[int, str], int] = {}
        for name, lines in ledgers.items():
            for message in ledger.fold(ledger.cut(lines.octets.decode("latin-1").splitlines(keepends=True))):
                number = int(message.destination)
                if self.gate is not None:
                    number += (int(message.content[:2], 16) - 0x30) * PERSON
                self.note(
                    number, "at {}: status {:#x} id {} link {}", name, message.status, message.message_id, message.link
                )
                if message.status:
                    continue
                copies[number, part_of(message)] += 1
                accepted[lane_of[name], message.message_id] = number
                for receipt in message.receipts:
                    if receipt.at_ns < message.at_ns or not message.answered:
                        self.reached["early_receipt"] += 1
                    if receipt.answer == 0:
                        answered[lane_of[name], message.message_id] = number
                if all(one.state != "DELIVRD" for one in message.receipts) and any(
                    one.state == "UNDELIV" and one.answer == 0 for one in message.receipts
                ):
                    undelivered[number, part_of(message)] += 1
                if len([one for one in message.receipts if one.state == "DELIVRD"]) > 1:
                    self.reached["duplicate_receipt"] += 1
        self.rows = rows
        stored = self._receipts(accepted)
        self._conservation(runs, rows, copies)
        if undelivered:
            self._keep_rerouted(undelivered, numbers_of)
        self._duplicates(runs, copies, repeated, undelivered)
        self._repeats(runs, numbers_of, undelivered)
        self._suppressed(rows)
        self._cancelled(rows)
        self._truth(rows, copies, accepted)
        self._once_each()
        self._late(rows)
        if self.gate is not None:
            self.gate.at_end([key for run in runs for key in run.keys], rows, self.store.reserved(), self.stops)
        for (lane, message_id), number in answered.items():
            if (lane, message_id) not in stored:
                self.say("R1", f"the receipt of {message_id} of {number} was answered and is not in the store", number)
        doubted = {
            (row.lane, row.chunk_id, row.pos, row.segment)
            for found in rows.values()
            for row in found
            if row.status == -1
        }
        # What was to be sent again and was cancelled stays in doubt where it stood before.
        copies_of = {(row["lane"], row["id"]) for row in self.store.rows("chunk") if row["repeats"] is not None}
        doubted -= {
            (lane, chunk_id, pos, segment)
            for lane, chunk_id, pos, segment in doubted
            if segment == 0 and (lane, chunk_id) in copies_of and numbers_of[lane, chunk_id][pos] in self.cancel_asked
        }
        parts = max((run.parts for run in runs), default=1)
        self.doubted = len(doubted)
        self.reached["doubt_written"] += len(doubted)
        self.reached["repeated"] += sum(repeated.values())
        if len(doubted) > self.may_doubt + extra_doubt * parts:
            self.say(
                "A5",
                f"{len(doubted)} segments in doubt, at most {self.may_doubt} unanswered on lost sessions or behind "
                f"their timers and {extra_doubt * parts} by kills",
            )

    def _receipts(self, accepted: dict[tuple[int, str], int]) -> set[tuple[int, str]]:
        """Judge receipts that were matched; -> (lane, message_id) of all that are kept."""
        stored = set()
        for lane, message_id, number in self.store.receipts():
            stored.add((lane, message_id))
            truly = accepted.get((lane, message_id))
            if number is not None and truly is not None and truly != number:
                self.say("R1", f"the receipt of {message_id} of {truly} was given to {number}", number)
        return stored

    def _conservation(self, runs: list[Any], rows: dict[int, list[Any]], copies: Counter[Any]) -> None:
        for run in runs:
            for number in run.keys:
                found = rows.get(number, [])
                if not found:
                    self.say("A1", f"{number} has no outcome and its chunk is closed", number)
                    continue
                latest: dict[tuple[int, int, int], set[int]] = {}
                for row in found:
                    latest.setdefault((row.lane, row.chunk_id, row.pos), set()).add(row.segment)
                parts = max(row.segments for row in found)
                if not any(0 in segments or len(segments) >= parts for segments in latest.values()):
                    # After a part that was refused for good the others are not sent; that is their end.
                    if not any(row.status > 0 for row in found):
                        self.say("A1", f"of {number} not every segment has an outcome", number)
        for number, _ in copies:
            if number not in rows:
                self.say("A1", f"{number} was taken by the carrier and has no outcome", number)

    def _keep_rerouted(self, undelivered: Counter[Any], numbers_of: dict[tuple[int, int], list[int]]) -> None:
        """Keep of what was not delivered the messages that went to another lane for that."""
        rerouted = {
            numbers_of[row["lane"], row["chunk_id"]][pos]
            for row in self.store.rows("transfer")
            if row["why"] == "failed"
            for pos in row["positions"]
        }
        for key in [key for key in undelivered if key[0] not in rerouted]:
            del undelivered[key]

    def _duplicates(
        self, runs: list[Any], copies: Counter[Any], repeated: Counter[int], undelivered: Counter[Any]
    ) -> None:
        """A3: taken once, and once more by another lane for a copy that its carrier has not delivered."""
        once = {number for run in runs if run.policy != Policy.AT_LEAST_ONCE for number in run.keys}
        for (number, place), count in copies.items():
            most = 1 if number in once else 1 + repeated[number]
            most += undelivered[number, place]
            if count > most:
                self.say("A3", f"part {place} of {number} was taken {count} times, at most {most}", number)

    def _repeats(
        self, runs: list[Any], numbers_of: dict[tuple[int, int], list[int]], undelivered: Counter[Any]
    ) -> None:
        """Under once is queued again only what was never taken, or not delivered, and never in doubt."""
        once = {number for run in runs if run.policy != Policy.AT_LEAST_ONCE for number in run.keys}
        again = set(self.store.repeated())
        for row in self.store.outcomes():
            if (row.lane, row.chunk_id, row.pos) in again and row.status in (0, -1):
                number = numbers_of[row.lane, row.chunk_id][row.pos]
                if number in once and not (row.status == 0 and undelivered[number, (row.segments, row.segment)]):
                    self.say("A3", f"{number} is queued again under once, and an outcome of it is {row.status}", number)

    def _suppressed(self, rows: dict[int, list[Any]]) -> None:
        for number, found in rows.items():
            if any(row.status == Refusal.SUPPRESSED for row in found):
                self.reached["suppressed"] += 1
                if number % PERSON not in self.stops or number % PERSON not in self.in_scope:
                    self.say("S1", f"{number} was not sent for a STOP that nobody has asked for", number)

    def _cancelled(self, rows: dict[int, list[Any]]) -> None:
        for number, found in rows.items():
            if any(row.status == Refusal.CANCELLED for row in found):
                self.reached["cancelled"] += 1
                if number not in self.cancel_asked:
                    self.say("C1", f"{number} was not sent for a cancel that nobody has asked for", number)

    def _once_each(self) -> None:
        """A6: no outcome stands there twice."""
        for row, count in Counter(self.store.outcomes()).items():
            if count > 1:
                self.say("A6", f"an outcome is stored {count} times: {row}")

    def _late(self, rows: dict[int, list[Any]]) -> None:
        """A7: a response behind its timer, on the same session, is believed."""
        for owner, number, message_id in self.late:
            if owner not in self.broken and not any(
                row.status == 0 and row.message_id == message_id for row in rows.get(number, ())
            ):
                self.say("A7", f"{number} was accepted late as {message_id}, and nobody wrote it down", number)

    def _truth(self, rows: dict[int, list[Any]], copies: Counter[Any], accepted: dict[tuple[int, str], int]) -> None:
        taken = {number for number, _ in copies}
        # A segment in doubt that was adopted by its receipt and then answered late has two rows, and both are true.
        ids: dict[tuple[int, str], set[tuple[int, int, int]]] = {}
        for number, found in rows.items():
            for row in found:
                if row.status == 0 and row.message_id is not None:
                    ids.setdefault((row.lane, row.message_id), set()).add((row.chunk_id, row.pos, row.segment))
                    truly = accepted.get((row.lane, row.message_id))
                    if truly != number:
                        self.say("A4", f"{number} is accepted as {row.message_id}, at the carrier {truly}'s", number)
            statuses = {row.status for row in found}
            if number in taken and 0 not in statuses and -1 not in statuses:
                self.say("A4", f"{number} was taken by the carrier; in the store: {sorted(statuses)}", number)
            if -1 in statuses and 0 in statuses:
                self.reached["doubt_settled"] += 1
        for (lane, message_id), segments in ids.items():
            # Doubt that a rescue wrote names the message, not its segment (0); the one that was frozen names it later.
            segments -= {(chunk_id, pos, 0) for chunk_id, pos, segment in segments if segment}
            if len(segments) > 1:
                self.say("A4", f"{message_id} stands for {sorted(segments)}", accepted.get((lane, message_id), 0))


def destination_of(pdu: bytes) -> tuple[int, tuple[int, int, bytes]]:
    """Read whom a submit_sm is for and which part it is: the number, (parts, part, reference)."""
    at = pdu.index(0, 16) + 1  # service_type
    at = pdu.index(0, at + 2) + 1  # source
    end = pdu.index(0, at + 2)
    number = int(pdu[at + 2 : end].lstrip(b"+"))
    esm_class = pdu[end + 1]
    if not esm_class & 0x40:
        return number, (1, 1, b"")
    at = end + 4
    at = pdu.index(0, at) + 1  # schedule_delivery_time
    at = pdu.index(0, at) + 1  # validity_period
    header = pdu[at + 5 : at + 12]
    return number, _part(header)


def _part(header: bytes) -> tuple[int, int, bytes]:
    if header[1] == 0x08:
        return header[5], header[6], bytes(header[3:5])
    if header[1] == 0x00:
        return header[4], header[5], bytes(header[3:4])
    return 1, 1, b""


def part_of(message: ledger.Message) -> tuple[int, int]:
    """Say which part a message at the simulator is: (parts, part)."""
    if not message.esm_class & 0x40:
        return 1, 1
    return _part(bytes.fromhex(message.content[:14]))[:2]
