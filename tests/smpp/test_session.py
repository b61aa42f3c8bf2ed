"""The session: an ESME against an SMSC without a socket, the state table in full, and what a rude peer gets."""

import json
import runpy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath.frame import Frames
from gateway.errors import EncodeError, LocalProtocolError, RemoteProtocolError
from gateway.smpp.pdu import Pdu, Tlv, decode, encode
from gateway.smpp.session import (
    BOUND,
    STEPS,
    TABLE,
    Bound,
    Closed,
    Expired,
    Refused,
    Request,
    Response,
    Role,
    Session,
    State,
    Unbound,
    Unmatched,
    Unreadable,
    counter,
)
from gateway.smpp.spec import BINDS, COMMANDS
from gateway.smpp.timers import Timings

ROOT_PATH = Path(__file__).parents[2]
BIND = {"system_id": "lab", "password": "s3cr3t", "interface_version": 0x34}
SUBMIT = {"source_addr": "1", "destination_addr": "2", "short_message": b"hi"}
FIELDS = {
    **{bind: BIND for bind in BINDS},
    "submit_sm": SUBMIT,
    "deliver_sm": SUBMIT,
    "submit_multi": {**SUBMIT, "dest_address": [{"dest_flag": 2, "dl_name": "all"}]},
}
del FIELDS["submit_multi"]["destination_addr"]
BROADCAST_TLVS = tuple(Tlv(tag, bytes(n)) for tag, n in ((0x0606, 1), (0x0601, 3), (0x0604, 2), (0x0605, 3)))
REQUESTS = [command.name for command in COMMANDS if not command.is_response]
SMSC_OF_BIND = {
    "bind_transmitter": State.BOUND_TX,
    "bind_receiver": State.BOUND_RX,
    "bind_transceiver": State.BOUND_TRX,
}


def sample(command: str, number: int = 9) -> Pdu:
    tlvs = BROADCAST_TLVS if command == "broadcast_sm" else ()
    return Pdu(command=command, sequence_number=number, fields=FIELDS.get(command, {}), tlvs=tlvs)


class SessionPair:
    """Both roles, joined by two lists of octets; `run` carries them over until both are silent."""

    def __init__(self, esme: dict | None = None, smsc: dict | None = None):
        self.now = 0.0
        self.esme = Session(Role.ESME, now=0.0, **(esme or {}))
        self.smsc = Session(Role.SMSC, now=0.0, **{"system_id": "LABMC", **(smsc or {})})
        self.esme_frames, self.smsc_frames = Frames(), Frames()

    def run(self) -> tuple[list, list]:
        """Give the events of the ESME and of the SMSC."""
        heard: tuple[list, list] = ([], [])
        while True:
            out, back = self.esme.take_output(), self.smsc.take_output()
            if not out and not back:
                return heard
            for pdu in self.smsc_frames.feed(out):
                heard[1].extend(self.smsc.receive(pdu, self.now))
            for pdu in self.esme_frames.feed(back):
                heard[0].extend(self.esme.receive(pdu, self.now))

    def bind(self, command: str = "bind_transceiver", **fields) -> "SessionPair":
        self.esme.request(command, {**BIND, **fields}, now=self.now)
        (asked,) = self.run()[1]
        self.smsc.respond(asked.pdu, now=self.now)
        self.events = self.run()[0]
        return self


def only(events: list, kind: type):
    (event,) = events
    assert isinstance(event, kind)
    return event


def answer_of(session: Session) -> Pdu:
    return decode(session.take_output())


# -- binds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "state"), SMSC_OF_BIND.items())
def test_accepted_bind_binds_both_sides(command, state):
    pair = SessionPair().bind(command)
    assert pair.esme.state is pair.smsc.state is state
    response, bound = pair.events
    assert response.pdu.fields == {"system_id": "LABMC"}
    assert bound == Bound(state, 0x34)


def test_refused_bind_leaves_both_open_and_may_be_tried_again():
    pair = SessionPair()
    pair.esme.request("bind_transmitter", BIND, now=0)
    pair.smsc.respond(pair.run()[1][0].pdu, 0x0E, now=0)
    response = only(pair.run()[0], Response)
    assert response.pdu.command_status == 0x0E
    assert response.pdu.body_absent
    assert pair.esme.state is pair.smsc.state is State.OPEN
    assert pair.bind().esme.state is State.BOUND_TRX


def test_refused_bind_with_a_body_is_understood():
    esme = Session(Role.ESME, now=0)
    number = esme.request("bind_receiver", BIND, now=0)
    events = esme.receive(
        encode(Pdu(command="bind_receiver_resp", command_status=0x0D, sequence_number=number, fields={})), 0
    )
    assert only(events, Response).pdu.command_status == 0x0D
    assert esme.state is State.OPEN


def test_second_bind_is_refused_as_already_bound_and_the_session_stays():
    pair = SessionPair().bind()
    event = only(pair.smsc.receive(encode(sample("bind_receiver")), 0), Refused)
    assert event.answer == 0x05
    assert answer_of(pair.smsc) == Pdu(
        command="bind_receiver_resp", command_status=5, sequence_number=9, body_absent=True
    )
    assert pair.smsc.state is State.BOUND_TRX


def test_second_bind_before_the_first_is_answered_is_refused_too():
    smsc = Session(Role.SMSC, now=0)
    first = only(smsc.receive(encode(sample("bind_receiver", 1)), 0), Request)
    assert only(smsc.receive(encode(sample("bind_receiver", 2)), 0), Refused).answer == 0x05
    assert only(smsc.receive(encode(sample("submit_sm", 3)), 0), Refused).answer == 0x04
    smsc.respond(first.pdu, now=0)
    assert smsc.state is State.BOUND_RX


def test_nacked_bind_is_a_response_and_binds_nothing():
    esme = Session(Role.ESME, now=0)
    number = esme.request("bind_transceiver", BIND, now=0)
    nack = encode(Pdu(command="generic_nack", command_status=0, sequence_number=number))
    only(esme.receive(nack, 0), Response)
    assert esme.state is State.OPEN
    assert esme.may_send("bind_transmitter")


def test_outbind_opens_the_way_for_a_bind():
    pair = SessionPair({"awaits_outbind": True})
    pair.smsc.request("outbind", {"system_id": "LABMC", "password": "obpw"}, now=0)
    assert only(pair.run()[0], Request).pdu.fields["password"] == "obpw"
    assert pair.esme.state is pair.smsc.state is State.OUTBOUND
    assert not pair.esme.may_send("bind_transmitter")
    assert pair.bind("bind_receiver").esme.state is State.BOUND_RX


# -- versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "spoken"),
    [
        (0x34, 0x34, 0x34),
        (0x50, 0x34, 0x34),
        (0x34, 0x50, 0x34),
        (0x50, 0x50, 0x50),
        (0x33, 0x50, 0x33),
        (0x50, 0x33, 0x33),
        (0x50, 0x00, 0x33),
        (0x50, 0x40, 0x34),
        (0x50, 0x60, 0x50),
    ],
)
def test_lower_version_of_the_two_is_spoken(ours, theirs, spoken):
    pair = SessionPair({"version": theirs}, {"version": ours}).bind(interface_version=theirs)
    assert pair.smsc.version == spoken
    if spoken > 0x33:
        assert pair.esme.version == spoken


def test_peer_of_3_3_gets_no_tlv_in_any_response():
    pair = SessionPair().bind(interface_version=0x33)
    assert pair.events[0].pdu.tlvs == ()
    submit = only(pair.smsc.receive(encode(sample("submit_sm")), 0), Request).pdu
    pair.smsc.respond(submit, 0, {"message_id": "7"}, [(0x0428, b"\0")], now=0)
    assert answer_of(pair.smsc).tlvs == ()


def test_error_to_a_peer_of_3_3_keeps_its_empty_message_id():
    pair = SessionPair().bind(interface_version=0x33)
    submit = only(pair.smsc.receive(encode(sample("submit_sm")), 0), Request).pdu
    pair.smsc.respond(submit, 0x58, now=0)
    assert answer_of(pair.smsc).fields == {"message_id": ""}


@pytest.mark.parametrize(("assumed", "sends"), [(None, False), (0x34, True)])
def test_smsc_that_names_no_version_gets_tlvs_only_if_configured(assumed, sends):
    esme = Session(Role.ESME, now=0, assume_version=assumed)
    number = esme.request("bind_transceiver", BIND, now=0)
    esme.receive(encode(Pdu(command="bind_transceiver_resp", sequence_number=number, fields={"system_id": "x"})), 0)
    assert esme.sends_tlvs is sends
    if sends:
        assert esme.request("submit_sm", SUBMIT, [(0x0426, b"\1")], now=0)
    else:
        with pytest.raises(LocalProtocolError, match="TLVs"):
            esme.request("submit_sm", SUBMIT, [(0x0426, b"\1")], now=0)


# -- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("state", [state for state in State if state is not State.CLOSED])
@pytest.mark.parametrize("command", REQUESTS)
def test_request_is_taken_or_refused_as_the_table_says(role, state, command):
    session = Session(role, now=0, state=state)
    if state is State.UNBINDING:
        # Reached by asking, so the peer goes on as before.
        session = Session(role, now=0, state=State.BOUND_TRX)
        session.request("unbind", now=0)
        session.take_output()
        allowed = command in TABLE[State.BOUND_TRX][role.peer]
    else:
        allowed = command in TABLE[state][role.peer]
    assert session.may_receive(command) == allowed
    events = session.receive(encode(sample(command)), 0)
    output = session.take_output()
    silent = command in ("outbind", "alert_notification")
    if allowed:
        assert not any(isinstance(event, (Refused, Unreadable)) for event in events)
        return
    refused = only(events, Refused)
    if silent:
        assert (refused.answer, output) == (None, b"")
        return
    bound_twice = command in BINDS and state in BOUND
    assert refused.answer == (0x05 if bound_twice else 0x04)
    answer = decode(output)
    assert (answer.command, answer.command_status, answer.sequence_number) == (command + "_resp", refused.answer, 9)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("state", [state for state in State if state is not State.UNBINDING])
@pytest.mark.parametrize("command", REQUESTS)
def test_request_of_ours_goes_out_only_where_the_table_says(role, state, command):
    session = Session(role, now=0, state=state)
    allowed = command in TABLE[state][role]
    assert session.may_send(command) == allowed
    if allowed:
        number = session.request(sample(command), now=0)
        written = decode(session.take_output())
        assert (written.command, written.sequence_number) == (command, number)
    else:
        with pytest.raises(LocalProtocolError, match=state.value):
            session.request(sample(command), now=0)
        assert session.take_output() == b""


def test_every_step_starts_from_a_state_where_its_command_may_travel():
    for state, command in STEPS:
        request = command.removesuffix("_resp")
        # A bind_transmitter_resp cannot follow an outbind: its request was not allowed.
        both = TABLE[state][Role.ESME] | TABLE[state][Role.SMSC]
        assert request in both or command == "unbind_resp"


def test_page_of_states_is_drawn_from_the_table():
    draw = runpy.run_path(str(ROOT_PATH / "docs/draw_states.py"))["draw"]
    assert (ROOT_PATH / "docs/states.md").read_text("utf-8") == draw(), "run: python docs/draw_states.py"


# -- requests and responses -------------------------------------------------------------------------------------------


def test_responses_are_matched_in_any_order():
    pair = SessionPair().bind()
    numbers = [pair.esme.request("submit_sm", SUBMIT, now=0) for _ in range(3)]
    asked = pair.run()[1]
    for event in reversed(asked):
        pair.smsc.respond(event.pdu, 0, {"message_id": str(event.pdu.sequence_number)}, now=0)
    answered = pair.run()[0]
    assert [event.request.sequence_number for event in answered] == numbers[::-1]
    assert all(event.pdu.fields["message_id"] == str(event.request.sequence_number) for event in answered)
    assert pair.esme.in_flight == 0


def test_one_number_may_be_in_use_both_ways():
    pair = SessionPair({"next_sequence": counter(5)}, {"next_sequence": counter(6)}).bind()
    assert pair.esme.request("submit_sm", SUBMIT, now=0) == pair.smsc.request("deliver_sm", SUBMIT, now=0) == 6
    esme_heard, smsc_heard = pair.run()
    pair.esme.respond(only(esme_heard, Request).pdu, now=0)
    pair.smsc.respond(only(smsc_heard, Request).pdu, 0, {"message_id": "7"}, now=0)
    esme_heard, smsc_heard = pair.run()
    assert only(esme_heard, Response).request.command == "submit_sm"
    assert only(smsc_heard, Response).request.command == "deliver_sm"


def test_deliver_sm_resp_has_its_nul_even_as_an_error():
    pair = SessionPair().bind()
    pair.smsc.request("deliver_sm", SUBMIT, now=0)
    pair.esme.respond(only(pair.run()[0], Request).pdu, 0x64, now=0)
    assert len(pair.esme.take_output()) == 17


def test_response_to_nothing_is_an_event_and_the_session_stays():
    pair = SessionPair().bind()
    for pdu in (
        Pdu(command="submit_sm_resp", sequence_number=77, fields={"message_id": "1"}),
        Pdu(command="generic_nack", command_status=2),
        Pdu(command="enquire_link_resp", sequence_number=0xFFFFFFFF),
    ):
        assert only(pair.esme.receive(encode(pdu), 0), Unmatched).pdu == pdu
    assert pair.esme.is_bound
    assert pair.esme.take_output() == b""


def test_response_of_another_command_does_not_settle_a_request():
    pair = SessionPair().bind()
    number = pair.esme.request("submit_sm", SUBMIT, now=0)
    wrong = Pdu(command="data_sm_resp", sequence_number=number, fields={"message_id": "1"})
    only(pair.esme.receive(encode(wrong), 0), Unmatched)
    assert pair.esme.in_flight == 1


def test_nack_settles_the_request_it_names():
    pair = SessionPair().bind()
    number = pair.esme.request("submit_sm", SUBMIT, now=0)
    nack = Pdu(command="generic_nack", command_status=3, sequence_number=number)
    assert only(pair.esme.receive(encode(nack), 0), Response).request.command == "submit_sm"


def test_second_response_to_one_request_is_unmatched():
    pair = SessionPair().bind()
    number = pair.esme.request("submit_sm", SUBMIT, now=0)
    octets = encode(Pdu(command="submit_sm_resp", sequence_number=number, fields={"message_id": "1"}))
    only(pair.esme.receive(octets, 0), Response)
    only(pair.esme.receive(octets, 0), Unmatched)


def test_broken_response_still_settles_its_request_with_what_could_be_read():
    pair = SessionPair().bind()
    number = pair.esme.request("submit_sm", SUBMIT, now=0)
    octets = bytearray(encode(Pdu(command="submit_sm_resp", sequence_number=number, fields={"message_id": "77"})))
    octets += b"\xff"
    octets[3] += 1
    event = only(pair.esme.receive(bytes(octets), 0), Response)
    assert event.pdu.fields == {"message_id": "77"}
    assert event.fault is not None
    assert pair.esme.in_flight == 0


@pytest.mark.parametrize("number", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_number_of_a_strange_peer_is_echoed_unchanged(number):
    pair = SessionPair().bind()
    pair.smsc.receive(encode(Pdu(command="enquire_link", sequence_number=number)), 0)
    assert answer_of(pair.smsc).sequence_number == number


def test_answer_is_given_once():
    pair = SessionPair().bind()
    submit = only(pair.smsc.receive(encode(sample("submit_sm")), 0), Request).pdu
    pair.smsc.respond(submit, 0, {"message_id": "7"}, now=0)
    with pytest.raises(LocalProtocolError, match="no answer is owed"):
        pair.smsc.respond(submit, 0, {"message_id": "7"}, now=0)


def test_answer_that_cannot_be_written_may_be_given_again():
    pair = SessionPair().bind()
    submit = only(pair.smsc.receive(encode(sample("submit_sm")), 0), Request).pdu
    with pytest.raises(EncodeError):
        pair.smsc.respond(submit, 0, {"message_id": "x" * 65}, now=0)
    pair.smsc.respond(submit, 0, {"message_id": "x" * 64}, now=0)
    assert answer_of(pair.smsc).fields == {"message_id": "x" * 64}


def test_peer_that_uses_a_number_twice_gets_two_answers():
    pair = SessionPair().bind()
    for _ in range(2):
        submit = only(pair.smsc.receive(encode(sample("submit_sm")), 0), Request).pdu
    for _ in range(2):
        pair.smsc.respond(submit, 0, {"message_id": "7"}, now=0)


def test_counter_goes_from_the_last_number_to_one():
    take = counter(0x7FFFFFFE)
    assert [take() for _ in range(4)] == [0x7FFFFFFE, 0x7FFFFFFF, 1, 2]


def test_number_in_flight_is_skipped_after_the_wrap():
    numbers = iter([1, 1, 1, 2])
    session = Session(Role.ESME, now=0, state=State.BOUND_TRX, next_sequence=lambda: next(numbers))
    assert [session.request("submit_sm", SUBMIT, now=0) for _ in range(2)] == [1, 2]


# -- what cannot be read ----------------------------------------------------------------------------------------------


def test_unknown_command_is_nacked_with_its_own_number():
    session = Session(Role.SMSC, now=0, state=State.BOUND_TRX)
    event = only(session.receive(bytes.fromhex("0000001000000999000000000000004d"), 0), Unreadable)
    assert event.answer == 3
    assert answer_of(session) == Pdu(command="generic_nack", command_status=3, sequence_number=0x4D)


def test_response_to_an_unknown_command_is_not_nacked():
    session = Session(Role.SMSC, now=0, state=State.BOUND_TRX)
    assert only(session.receive(bytes.fromhex("0000001080000999000000000000004d"), 0), Unreadable).answer is None
    assert session.take_output() == b""


@pytest.mark.parametrize(
    ("role", "command"), [(Role.SMSC, "submit_sm"), (Role.ESME, "deliver_sm"), (Role.ESME, "alert_notification")]
)
def test_every_truncation_is_answered_once_and_the_session_stays(role, command):
    """Case 23 of the write protocol."""
    session = Session(role, now=0, state=State.BOUND_TRX)
    octets = encode(sample(command))
    for end in range(16, len(octets)):
        event = only(session.receive(end.to_bytes(4, "big") + octets[4:end], 0), Unreadable)
        if command == "alert_notification":
            assert (event.answer, session.take_output()) == (None, b"")
            continue
        answer = answer_of(session)
        assert (answer.command, answer.sequence_number) == (command + "_resp", 9)
        assert answer.command_status == event.answer == event.fault.command_status
    assert session.is_bound


def test_body_is_not_looked_at_before_the_bind():
    session = Session(Role.SMSC, now=0)
    broken = bytes.fromhex("0000001d00000004000000000000000500010131000101323232323232")
    assert only(session.receive(broken, 0), Refused).answer == 0x04


def test_bind_that_cannot_be_read_gets_the_code_of_its_field():
    session = Session(Role.SMSC, now=0)
    octets = bytes.fromhex("000000270000000200000000000000017878787878787878787878787878787800000034000000")
    assert only(session.receive(octets, 0), Unreadable).answer == 0x0F
    assert session.state is State.OPEN
    assert only(session.receive(encode(sample("bind_transmitter")), 0), Request)


@pytest.mark.parametrize("octets", [b"", b"\0\0\0\x10", bytes.fromhex("00000011000000150000000000000001")])
def test_octets_that_are_no_whole_pdu_close_the_session(octets):
    session = Session(Role.SMSC, now=0, state=State.BOUND_TRX)
    with pytest.raises(RemoteProtocolError):
        session.receive(octets, 0)
    assert session.state is State.CLOSED
    assert answer_of(session) == Pdu(command="generic_nack", command_status=2)


def test_closed_session_hears_and_says_nothing():
    session = Session(Role.SMSC, now=0, state=State.BOUND_TRX)
    session.lost()
    assert session.receive(encode(sample("submit_sm")), 0) == []
    assert session.take_output() == b""
    assert session.next_at is None


@settings(max_examples=300)
@given(
    role=st.sampled_from(Role),
    state=st.sampled_from([State.OPEN, State.OUTBOUND, *sorted(BOUND, key=lambda state: state.value)]),
    pdus=st.lists(
        st.one_of(
            st.tuples(st.sampled_from([command.id for command in COMMANDS]), st.binary(max_size=60)).map(
                lambda drawn: (
                    (16 + len(drawn[1])).to_bytes(4, "big") + drawn[0].to_bytes(4, "big") + bytes(7) + b"\1" + drawn[1]
                )
            ),
            st.sampled_from(REQUESTS).map(lambda command: encode(sample(command))),
        ),
        max_size=8,
    ),
)
def test_any_pdus_in_any_state_are_events_and_every_word_of_ours_can_be_read(role, state, pdus):
    session = Session(role, now=0, state=state)
    for octets in pdus:
        for event in session.receive(octets, 0):
            if isinstance(event, Request) and event.pdu.command not in ("outbind", "alert_notification"):
                session.respond(event.pdu, 0, now=0)
        frames = Frames()
        for written in frames.feed(session.take_output()):
            assert decode(written).is_response
        assert frames.rest == b""


# -- unbind -----------------------------------------------------------------------------------------------------------


def test_unbind_of_ours_is_answered_and_ends_both_sides():
    pair = SessionPair().bind()
    pair.esme.request("unbind", now=0)
    assert pair.esme.state is State.UNBINDING
    assert not pair.esme.may_send("submit_sm")
    esme_heard, smsc_heard = pair.run()
    assert smsc_heard == [Unbound(by_peer=True)]
    assert esme_heard[-1] == Unbound(by_peer=False)
    assert pair.esme.state is pair.smsc.state is State.UNBOUND


def test_requests_of_the_peer_are_still_answered_while_our_unbind_travels():
    pair = SessionPair().bind()
    pair.smsc.request("deliver_sm", SUBMIT, now=0)
    pair.esme.request("unbind", now=0)
    deliver = only(pair.esme.receive(pair.smsc.take_output(), 0), Request).pdu
    pair.esme.respond(deliver, now=0)
    _, smsc_heard = pair.run()
    assert [type(event) for event in smsc_heard] == [Unbound, Response]


def test_unbind_of_the_peer_waits_for_the_answers_we_owe():
    pair = SessionPair().bind()
    pair.esme.request("submit_sm", SUBMIT, now=0)
    pair.esme.request("unbind", now=0)
    submit = only(pair.run()[1], Request).pdu
    assert pair.smsc.state is State.UNBINDING
    pair.smsc.respond(submit, 0, {"message_id": "7"}, now=0)
    assert pair.smsc.state is State.UNBOUND
    assert [type(event) for event in pair.run()[0]] == [Response, Response, Unbound]


def test_answer_we_never_give_does_not_hold_the_peers_unbind_for_ever():
    pair = SessionPair(smsc={"timings": Timings(unbind=5.0)}).bind()
    pair.esme.request("submit_sm", SUBMIT, now=0)
    pair.esme.request("unbind", now=0)
    pair.run()
    assert pair.smsc.next_at == 5.0
    assert pair.smsc.tick(5.0) == [Unbound(by_peer=True)]
    assert decode(pair.smsc.take_output()).command == "unbind_resp"


def test_unbind_without_an_answer_ends_by_its_timer():
    session = Session(Role.ESME, now=0, state=State.BOUND_TRX, timings=Timings(unbind=5.0))
    session.request("unbind", now=1.0)
    assert session.tick(5.9) == []
    assert session.tick(6.0) == [Unbound(by_peer=False)]
    assert session.state is State.UNBOUND


def test_unbinds_that_cross_end_both_sides():
    pair = SessionPair().bind()
    pair.esme.request("unbind", now=0)
    pair.smsc.request("unbind", now=0)
    pair.run()
    assert pair.esme.state is pair.smsc.state is State.UNBOUND


# -- timers -----------------------------------------------------------------------------------------------------------


def test_peer_that_never_binds_is_closed():
    session = Session(Role.SMSC, now=100.0, timings=Timings(session_init=10.0))
    assert session.next_at == 110.0
    assert session.tick(109.9) == []
    assert only(session.tick(110.0), Closed).reason == "no bind in time"


def test_refused_binds_do_not_stretch_the_time_to_bind():
    session = Session(Role.SMSC, now=0, timings=Timings(session_init=10.0))
    session.respond(only(session.receive(encode(sample("bind_receiver")), 9.0), Request).pdu, 0x0E, now=9.0)
    assert only(session.tick(10.0), Closed)


def test_esme_waits_for_an_outbind_only_where_it_was_connected_to():
    assert Session(Role.ESME, now=0).next_at is None
    session = Session(Role.ESME, now=0, awaits_outbind=True, timings=Timings(session_init=10.0))
    assert only(session.tick(10.0), Closed)


def test_silence_is_broken_by_enquire_link_and_any_pdu_restarts_it():
    timings = Timings(enquire_link=30.0, enquire_link_response=10.0)
    session = Session(Role.ESME, now=0, state=State.BOUND_TRX, timings=timings)
    session.receive(encode(Pdu(command="enquire_link", sequence_number=1)), 20.0)
    session.take_output()
    assert session.tick(49.9) == []
    assert session.take_output() == b""
    assert session.tick(50.0) == []
    assert answer_of(session).command == "enquire_link"


def test_traffic_of_the_compiled_path_restarts_the_timers():
    session = Session(Role.ESME, now=0, state=State.BOUND_TRX, timings=Timings(enquire_link=30.0, inactivity=60.0))
    session.touch(25.0)
    assert session.next_at == 55.0
    assert session.tick(54.0) == []
    assert session.take_output() == b""


def test_enquire_link_is_not_sent_before_the_bind():
    session = Session(Role.ESME, now=0, timings=Timings(enquire_link=30.0))
    session.tick(1000.0)
    assert session.take_output() == b""


def test_peer_that_answers_no_enquire_link_is_closed_after_the_agreed_misses():
    timings = Timings(enquire_link=30.0, enquire_link_response=10.0, enquire_link_misses=2)
    session = Session(Role.ESME, now=0, state=State.BOUND_TRX, timings=timings)
    events = [(now, event) for now in (30.0, 40.0, 60.0, 70.0) for event in session.tick(now)]
    assert [(now, type(event)) for now, event in events] == [(40.0, Expired), (70.0, Expired), (70.0, Closed)]
    assert session.state is State.CLOSED


def test_one_answer_forgives_the_misses_before_it():
    timings = Timings(enquire_link=30.0, enquire_link_response=10.0, enquire_link_misses=2)
    session = Session(Role.ESME, now=0, state=State.BOUND_TRX, timings=timings)
    session.tick(30.0)
    session.tick(40.0)
    session.receive(encode(Pdu(command="enquire_link", sequence_number=1)), 50.0)
    session.tick(80.0)
    assert not any(isinstance(event, Closed) for event in session.tick(90.0))


def test_request_without_an_answer_expires_and_its_late_answer_is_unmatched():
    session = Session(Role.ESME, now=0, state=State.BOUND_TRX, timings=Timings(response=30.0, enquire_link=None))
    number = session.request("submit_sm", SUBMIT, now=5.0)
    assert session.next_at == 35.0
    assert session.tick(34.9) == []
    assert only(session.tick(35.0), Expired).request.sequence_number == number
    late = Pdu(command="submit_sm_resp", sequence_number=number, fields={"message_id": "1"})
    only(session.receive(encode(late), 36.0), Unmatched)


def test_bind_without_an_answer_closes():
    session = Session(Role.ESME, now=0, timings=Timings(response=30.0))
    session.request("bind_transceiver", BIND, now=0)
    assert [type(event) for event in session.tick(30.0)] == [Expired, Closed]


def test_session_without_transactions_unbinds_though_enquire_links_pass():
    timings = Timings(inactivity=60.0, enquire_link=None)
    session = Session(Role.SMSC, now=0, state=State.BOUND_TRX, timings=timings)
    session.receive(encode(Pdu(command="enquire_link", sequence_number=1)), 50.0)
    session.take_output()
    assert session.tick(60.0) == []
    assert answer_of(session).command == "unbind"


def test_lost_connection_names_the_undecided_messages():
    session = Session(Role.ESME, now=0, state=State.BOUND_TRX)
    number = session.request("submit_sm", SUBMIT, now=0)
    session.request("enquire_link", now=0)
    assert [sent.sequence_number for sent in session.lost()] == [number]
    assert session.state is State.CLOSED


@given(st.data())
@settings(max_examples=50)
def test_pair_survives_any_chunking_of_a_whole_conversation(data):
    pair = SessionPair().bind()
    for _ in range(data.draw(st.integers(1, 5))):
        pair.esme.request("submit_sm", SUBMIT, now=0)
    octets = pair.esme.take_output()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=10)))
    heard = []
    for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True):
        for pdu in pair.smsc_frames.feed(octets[start:end]):
            heard += pair.smsc.receive(pdu, 0)
    for event in heard:
        pair.smsc.respond(event.pdu, 0, {"message_id": json.dumps(event.pdu.sequence_number)}, now=0)
    assert all(isinstance(event, Response) for event in pair.run()[0])
    assert pair.esme.in_flight == 0
