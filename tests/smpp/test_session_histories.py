"""Any history of a session: PDUs of a peer of any manners, requests and answers of ours, timers, a cut (F8).

Held after each step: the peer's requests are answered at most once and nothing else is; what we ask the state allows;
a state follows another as STEPS has it; who is closed says nothing more. Held at the end: when the peer falls silent
the timers alone bring every bound session to its end, and each request of ours has had exactly one end.
"""

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from _fastpath.frame import Frames
from gateway.errors import LocalProtocolError, RemoteProtocolError
from gateway.smpp.pdu import ANYTHING, Pdu, encode, header, salvage
from gateway.smpp.session import STEPS, TABLE, Closed, Expired, Request, Response, Role, Session, State, Unmatched
from gateway.smpp.spec import COMMAND_BY_ID, RESPONSE_BIT
from gateway.smpp.timers import Timings
from tests.smpp.test_session import REQUESTS, sample

# Few, so that numbers are used again, and answers meet the wrong request.
NUMBERS = st.integers(1, 6)
OVER = {State.CLOSED, State.UNBOUND}
FOLLOWING = {state: {after for (before, _), after in STEPS.items() if before is state} for state in State}


class History(RuleBasedStateMachine):
    """One session of ours, its peer, and a clock that the rules move."""

    @initialize(
        role=st.sampled_from(Role),
        awaits_outbind=st.booleans(),
        inactivity=st.sampled_from((None, 20.0)),
        response=st.sampled_from((None, 8.0)),
        state=st.sampled_from((State.OPEN, State.OPEN, State.BOUND_TX, State.BOUND_RX, State.BOUND_TRX)),
    )
    def begin(self, role, awaits_outbind, inactivity, response, state):
        self.role, self.response, self.state, self.awaits_outbind = role, response, state, awaits_outbind
        self.timings = Timings(inactivity=inactivity, response=response)
        self.now = 0.0
        self.connect()

    def connect(self):
        self.one = Session(
            self.role, now=self.now, system_id="LAB", timings=self.timings, awaits_outbind=self.awaits_outbind,
            state=self.state,
        )  # fmt: skip
        self.asked, self.answered = Counter(), Counter()  # by the peer, by us: (command, number)
        self.pending = []
        self.ours = {}  # number -> how often it has ended
        self.steps, self.steps_over = 0, 0

    @invariant()
    def life_goes_on(self):
        """Three steps behind the end of a session comes the next one."""
        if not hasattr(self, "one"):
            return
        self.steps += 1
        self.steps_over += self.one.state in OVER
        if self.steps_over > 3:
            self.teardown()
            self.connect()

    # -- the peer ---------------------------------------------------------------------------------------------------

    @rule(command=st.sampled_from(REQUESTS), number=NUMBERS)
    def peer_asks(self, command, number):
        self.hear(encode(sample(command, number)))

    @precondition(lambda self: TABLE[self.one.state][self.one.role.peer])
    @rule(number=NUMBERS, data=st.data())
    def peer_asks_what_it_may(self, number, data):
        commands = sorted(TABLE[self.one.state][self.one.role.peer])
        if self.steps < 12:
            commands = [command for command in commands if command != "unbind"]
        self.hear(encode(sample(data.draw(st.sampled_from(commands)), number)))

    @rule(command=st.sampled_from(REQUESTS), number=NUMBERS, cut=st.integers(1, 60), tail=st.binary(max_size=9))
    def peer_asks_what_cannot_be_read(self, command, number, cut, tail):
        octets = encode(sample(command, number))
        octets = octets[: max(16, len(octets) - cut)] + tail
        self.hear(len(octets).to_bytes(4, "big") + octets[4:])

    @rule(number=NUMBERS, command_id=st.integers(0x100, 0x7FFFFFFF).filter(lambda one: one not in COMMAND_BY_ID))
    def peer_asks_what_nobody_knows(self, number, command_id):
        self.hear(b"".join(one.to_bytes(4, "big") for one in (16, command_id, 0, number)))

    @rule(command=st.sampled_from([*REQUESTS, "generic_nack"]), number=NUMBERS, status=st.sampled_from((0, 0, 0, 0x0D)))
    def peer_answers_anything(self, command, number, status):
        if command in ("outbind", "alert_notification"):
            return
        name = command if command == "generic_nack" else command + "_resp"
        self.hear(encode(Pdu(command=name, command_status=status, sequence_number=number, body_absent=status != 0)))

    @precondition(lambda self: self.one.in_flight)
    @rule(status=st.sampled_from((0, 0, 0x0D)), data=st.data())
    def peer_answers_what_we_asked(self, status, data):
        sent = self.one._sent[data.draw(st.sampled_from(sorted(self.one._sent)))]
        absent = {"body_absent": status != 0}
        self.hear(
            encode(
                Pdu(
                    command=sent.command + "_resp",
                    command_status=status,
                    sequence_number=sent.sequence_number,
                    **absent,
                )
            )
        )

    @precondition(lambda self: self.steps > 12)
    @rule(octets=st.binary(max_size=15))
    def peer_sends_no_whole_pdu(self, octets):
        before = self.one.state
        if before is State.CLOSED:
            assert self.one.receive(octets, self.now) == []
            return
        with pytest.raises(RemoteProtocolError):
            self.one.receive(octets, self.now)
        assert self.one.state is State.CLOSED
        (nack,) = Frames().feed(self.one.take_output())
        assert header(nack)[1] == 0x80000000
        self.end_what_is_open()

    # -- we ---------------------------------------------------------------------------------------------------------

    @rule(command=st.sampled_from(REQUESTS))
    def we_ask(self, command):
        if command == "unbind" and self.steps < 12:
            return
        pdu = sample(command)
        state, may = self.one.state, self.one.may_send(command)
        try:
            number = self.one.request(command, pdu.fields, now=self.now)
        except LocalProtocolError:
            assert not may and self.one.take_output() == b"" and self.one.state is state
            return
        assert may
        if command not in ("outbind", "alert_notification"):
            assert number not in self.ours or self.ours[number]
            self.ours[number] = 0
        self.look(state)

    @precondition(lambda self: self.pending)
    @rule(at=st.integers(0, 20), status=st.sampled_from((0, 0, 0x0D)), again=st.booleans())
    def we_answer(self, at, status, again):
        request = self.pending[at % len(self.pending)]
        state, owed = self.one.state, self.asked[_key(request)] - self.answered[_key(request)]
        try:
            self.one.respond(request, status, now=self.now)
        except LocalProtocolError:
            assert self.one.take_output() == b"" and (owed == 0 or state in OVER)
            return
        assert owed > 0
        self.look(state)
        if not again:
            self.pending.remove(request)

    # -- time -------------------------------------------------------------------------------------------------------

    @rule(step_s=st.floats(0, 12))
    def time_passes(self, step_s):
        self.now += step_s
        self.tick()

    @precondition(lambda self: self.one.next_at is not None and self.steps % 4 == 3)
    @rule()
    def next_timer_is_due(self):
        self.now = max(self.now, self.one.next_at)
        self.tick()

    @precondition(lambda self: self.steps > 12)
    @rule()
    def connection_is_cut(self):
        state = self.one.state
        self.one.lost()
        assert self.one.state is State.CLOSED and self.one.in_flight == 0
        self.one.take_output() if state is not State.CLOSED else None
        self.end_what_is_open()

    def teardown(self):
        if not hasattr(self, "one"):
            return
        for _ in range(60):
            if self.one.next_at is None or self.one.state is State.CLOSED:
                break
            self.now = max(self.now, self.one.next_at)
            self.tick()
        # A peer that is silent is given up. An ESME that is not bound waits for its owner, and for an answer only where
        # the timer of responses is switched off.
        state, waits = self.one.state, self.one.in_flight and self.response is not None
        is_idle = state in (State.OPEN, State.OUTBOUND) and self.one.next_at is None and not waits
        assert state in OVER or is_idle, state
        self.one.lost()
        self.end_what_is_open()
        assert set(self.ours.values()) <= {1}, self.ours

    # -- what holds -------------------------------------------------------------------------------------------------

    def hear(self, octets):
        was, state = self.one.state is State.CLOSED, self.one.state
        _, command_id, _, number = header(octets)
        if not command_id & RESPONSE_BIT and not was:
            command = COMMAND_BY_ID.get(command_id)
            self.asked[command.name if command else "?", number] += 1
        self.judge(self.one.receive(octets, self.now), state)

    def tick(self):
        state = self.one.state
        self.judge(self.one.tick(self.now), state)

    def judge(self, events, state):
        for event in events:
            if isinstance(event, Request) and event.pdu.command not in ("outbind", "alert_notification"):
                self.pending.append(event.pdu)
            elif isinstance(event, Response):
                self.ended(event.request.sequence_number)
            elif isinstance(event, Expired):
                self.ended(event.request.sequence_number)
            elif isinstance(event, Unmatched):
                assert state is not State.CLOSED
            elif isinstance(event, Closed):
                assert self.one.state is State.CLOSED
        self.look(state)

    def ended(self, number):
        self.ours[number] += 1
        assert self.ours[number] == 1, f"request {number} ended twice"

    def end_what_is_open(self):
        """What has no answer when the link is gone ended by that."""
        self.ours = {number: ends or 1 for number, ends in self.ours.items()}
        self.pending.clear()

    def look(self, state):
        """Read what was written since `state` stood."""
        for octets in Frames().feed(self.one.take_output()):
            assert state is not State.CLOSED
            pdu, _ = salvage(octets, ANYTHING)
            if octets[4] & 0x80:
                command = pdu.command.removesuffix("_resp")
                key = ("?" if command == "generic_nack" else command, pdu.sequence_number)
                self.answered[key] += 1
                assert self.answered[key] <= self.asked[key], f"{pdu.command} {pdu.sequence_number}: nobody waits"
            else:
                assert pdu.command in TABLE[state][self.one.role]
                self.ours.setdefault(pdu.sequence_number, 0)
        reached = {state, State.CLOSED} | FOLLOWING[state]
        reached |= {after for each in FOLLOWING[state] for after in FOLLOWING[each]}
        assert self.one.state in reached, f"{state} -> {self.one.state}"
        if self.one.state in TABLE and self.one.is_bound:
            assert self.one.next_at is not None, "bound, and no timer watches the peer"


def _key(request):
    return request.command, request.sequence_number


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
