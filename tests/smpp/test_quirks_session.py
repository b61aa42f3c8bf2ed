"""Quirks 1 to 15 of docs/quirks.md: what SMSCs do to a session. Each test names its number."""

import asyncio
import random

import pytest

from gateway.config import CarrierSettings
from gateway.simulator.behaviour import Account
from gateway.smpp.bind import Bind, Kind, Phase
from gateway.smpp.hosts import Hosts
from gateway.smpp.status import Disposition
from tests.fixtures.carriers import UNCERTAIN, add, all_bound, outcomes
from tests.fixtures.now import Now, until

RECEIPT = {
    "esm_class": 4,
    "source_addr": "447700900000",
    "destination_addr": "Brand",
    "short_message": b"id:A1 sub:001 dlvrd:001 stat:DELIVRD err:000 text:hi",
}


async def bound(esme, scripted_smsc, **settings):
    """Bring one bind up; -> the carrier and the SMSC's end."""
    carrier = esme(scripted_smsc.port, **settings)
    peer = await scripted_smsc.accept()
    await peer.bind()
    await all_bound(carrier)
    return carrier, peer


def refused_bind(status, **settings):
    """Make a bind that was just refused with a status."""
    made = CarrierSettings(host="127.0.0.1", **settings)
    owner = type("Owner", (), {"hosts": Hosts(made.addresses, made.host_policy, made.reconnect_longest_s)})()
    bind = Bind("acme#1", Kind.TRX, made, owner, Now(), random.Random(7))
    bind._refusal = status
    bind._failures = 8
    return bind


# -- 1, 2: octets ------------------------------------------------------------------------------------------------------


async def test_quirk_1_bind_resp_and_deliver_sm_in_one_segment(esme, scripted_smsc):
    carrier = esme(scripted_smsc.port)
    peer = await scripted_smsc.accept()
    request = await peer.next("bind_transceiver")
    peer.write(
        peer.octets_of_answer(request, 0, {"system_id": "smsc"}, [(0x0210, b"\x34")])
        + peer.octets_of("deliver_sm", 9, fields=RECEIPT)
    )
    # Read before the bind was known to be up, it goes the way of the rare ones: to who answers them once durable.
    await until(lambda: carrier.requests, "it is handed on")
    link, pdu = carrier.requests[0]
    assert pdu.fields["short_message"] == RECEIPT["short_message"]
    await all_bound(carrier)
    link.owe(pdu)
    link.acknowledge(link.exchange.owed_upto)
    assert (await peer.next("deliver_sm_resp")).sequence_number == 9


async def test_quirk_1_pdu_octet_by_octet(esme, scripted_smsc):
    carrier = esme(scripted_smsc.port)
    peer = await scripted_smsc.accept()
    request = await peer.next("bind_transceiver")
    octets = peer.octets_of_answer(request, 0, {"system_id": "smsc"}) + peer.octets_of("deliver_sm", 9, fields=RECEIPT)
    for octet in octets:
        peer.write(bytes((octet,)))
        await peer.writer.drain()
        await asyncio.sleep(0)
    assert (await peer.next("deliver_sm_resp")).sequence_number == 9 and carrier.is_up


@pytest.mark.parametrize("octets", [b"\r\n" * 8, bytes(16), b"\x7f" + bytes(15)])
async def test_quirk_2_length_that_cannot_be_ends_the_session_and_another_begins(esme, scripted_smsc, octets):
    carrier, peer = await bound(esme, scripted_smsc)
    peer.write(octets)
    await peer.gone()
    assert "framing lost" in carrier.binds[0].last_error
    await (await scripted_smsc.accept()).bind()
    await all_bound(carrier)


# -- 3: refusals -------------------------------------------------------------------------------------------------------


async def test_quirk_3_stale_session_is_waited_out_with_at_most_one_attempt_in_the_gap(esme, smsc):
    centre = await smsc(account=(Account(bind_refusals=("RALYBND",) * 5),))
    carrier = esme(centre.port, binds=3, reconnect_first_s=0.05, reconnect_longest_s=0.2)
    tried = []
    carrier.turns.tried, note = lambda now: (tried.append(now), note(now)), carrier.turns.tried
    await all_bound(carrier)
    assert centre.totals()["binds_refused"] == 5 and len(tried) == 8
    assert min(later - sooner for sooner, later in zip(tried, tried[1:], strict=False)) >= 0.05
    assert not any(report.alarm for report in carrier.reports())


@pytest.mark.parametrize(
    ("status", "low_s", "high_s"),
    [
        (Disposition.SESSION, 0, 60),  # stale: doubling to the longest
        (Disposition.RETRY, 0, 4),  # busy: short
        (Disposition.CONFIG, 150, 300),  # a person: minutes
    ],
)
def test_quirk_3_refusals_back_off_by_their_kind_with_jitter(status, low_s, high_s):
    bind = refused_bind(status)
    drawn = sorted(bind.backoff_s() for _ in range(2000))
    assert low_s <= drawn[0] < low_s + (high_s - low_s) * 0.01
    assert high_s - (high_s - low_s) * 0.01 < drawn[-1] <= high_s


@pytest.mark.parametrize("status", [0x0D, 0x0E, 0x0F, 0x53])
async def test_quirk_3_refusal_for_a_person_is_an_alarm_until_the_bind_is_up(esme, scripted_smsc, status):
    carrier = esme(scripted_smsc.port)
    await (await scripted_smsc.accept()).bind(status=status)
    await until(lambda: carrier.reports()[0].alarm, "the alarm")
    assert f"0x{status:02x}" in carrier.reports()[0].alarm
    await (await scripted_smsc.accept()).bind()
    await all_bound(carrier)
    assert carrier.reports()[0].alarm == ""


async def test_quirk_3_account_that_is_refused_for_good_tries_with_no_other_bind_meanwhile(esme, scripted_smsc):
    carrier = esme(scripted_smsc.port, binds=3, refused_pause_s=600.0)
    await (await scripted_smsc.accept()).bind(status=0x0E)
    await until(lambda: carrier.binds[0].alarm, "the alarm")
    assert carrier.turns.wait_s(carrier._clock()) > 290 and scripted_smsc.connections == 1


async def test_quirk_3_one_bind_too_many_does_not_shut_an_account_that_works(esme, scripted_smsc):
    carrier = esme(scripted_smsc.port, binds=2, refused_pause_s=600.0)
    await (await scripted_smsc.accept()).bind()
    await (await scripted_smsc.accept()).bind(status=0x0D)
    await until(lambda: carrier.binds[1].alarm, "the alarm")
    assert carrier.turns.wait_s(carrier._clock()) <= carrier.settings.reconnect_first_s and carrier.is_up


@pytest.mark.parametrize(
    ("status", "words", "is_alarm"),
    [
        (0x03, {"0x03": "config"}, True),
        (0x05, {"0x05": "config"}, True),
        (0x0E, {"RINVPASWD": "busy"}, False),
        (0x06, {"0x06": "stale"}, False),
        (0x401, {"0x401": "config"}, True),
    ],
)
async def test_quirk_3_carriers_own_use_of_a_status_is_a_setting(esme, scripted_smsc, status, words, is_alarm):
    carrier = esme(scripted_smsc.port, bind_statuses=words, refused_pause_s=0.01)
    await (await scripted_smsc.accept()).bind(status=status)
    await until(lambda: carrier.binds[0].last_error, "the refusal is known")
    assert bool(carrier.binds[0].alarm) == is_alarm


# -- 4: unbind ---------------------------------------------------------------------------------------------------------


async def test_quirk_4_unbind_of_the_smsc_is_answered_at_once_and_what_is_in_flight_is_heard(esme, scripted_smsc):
    carrier, peer = await bound(esme, scripted_smsc, window=5)
    add(carrier, 20)
    submits = [await peer.next("submit_sm") for _ in range(5)]
    peer.send("unbind", 7)
    assert (await peer.next("unbind_resp")).sequence_number == 7
    for submit in submits:
        peer.answer(submit, message_id="1")
    assert await peer.gone() == b""  # nothing new came behind the unbind
    assert [outcome.status for outcome in outcomes(carrier)] == [0] * 5 and carrier.ledger.uncertain == 0
    await (await scripted_smsc.accept()).bind()
    await all_bound(carrier)


async def test_quirk_4_what_is_not_answered_behind_an_unbind_is_in_doubt(esme, scripted_smsc):
    carrier, peer = await bound(esme, scripted_smsc, window=3)
    add(carrier, 3)
    for _ in range(3):
        await peer.next("submit_sm")
    peer.send("unbind", 7)
    await peer.next("unbind_resp")
    peer.close()
    await until(lambda: carrier.ledger.uncertain == 3, "they are in doubt")
    assert {outcome.status for outcome in outcomes(carrier)} == {UNCERTAIN}


async def test_quirk_4_our_unbind_without_an_answer_ends_all_the_same(esme, scripted_smsc):
    carrier, peer = await bound(esme, scripted_smsc, unbind_timeout_s=0.05)
    await carrier.stop()
    await peer.next("unbind")
    assert await peer.gone() == b""


# -- 5 to 9: requests and responses ------------------------------------------------------------------------------------


async def test_quirk_5_enquire_link_is_answered_with_its_number_while_the_window_is_full(esme, scripted_smsc):
    carrier, peer = await bound(esme, scripted_smsc, window=2)
    add(carrier, 10)
    for _ in range(2):
        await peer.next("submit_sm")
    peer.send("enquire_link", 0x7FFFFFFE)
    assert (await peer.next("enquire_link_resp")).sequence_number == 0x7FFFFFFE
    assert carrier.in_flight == 2


@pytest.mark.parametrize(("idle_timeout_s", "interval_s"), [(0.0, 30.0), (40.0, 20.0), (600.0, 30.0)])
async def test_quirk_5_enquire_link_leaves_at_half_the_patience_of_the_smsc_and_never_before_bound(
    esme, scripted_smsc, idle_timeout_s, interval_s
):
    now = Now()
    carrier = esme(scripted_smsc.port, clock=now, idle_timeout_s=idle_timeout_s)
    peer = await scripted_smsc.accept()
    await until(lambda: carrier.binds[0].phase is Phase.BINDING, "it binds")
    assert carrier.binds[0].link.session._enquire_link.next_at is None
    await peer.bind()
    await all_bound(carrier)
    assert carrier.binds[0].link.session._enquire_link.next_at == now.at + interval_s


@pytest.mark.parametrize("number", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
async def test_quirk_6_numbers_of_the_peer_are_its_own_and_any_will_do(esme, scripted_smsc, number):
    carrier, peer = await bound(esme, scripted_smsc)
    add(carrier, 1)
    submit = await peer.next("submit_sm")
    peer.send("deliver_sm", number, fields=RECEIPT)
    assert (await peer.next("deliver_sm_resp")).sequence_number == number
    peer.answer(submit, message_id="1")
    await until(lambda: carrier.ledger.accepted == 1, "it is accepted")


async def test_quirk_7_responses_in_any_order_and_to_nothing_keep_the_session(esme, scripted_smsc):
    carrier, peer = await bound(esme, scripted_smsc, window=4)
    add(carrier, 4)
    submits = [await peer.next("submit_sm") for _ in range(4)]
    peer.send("submit_sm_resp", 4711, fields={"message_id": "x"})
    for submit in reversed(submits):
        peer.answer(submit, message_id=f"{submit.sequence_number}")
    await until(lambda: carrier.ledger.accepted == 4, "all are accepted")
    assert carrier.ledger.unknown_responses == 1 and carrier.is_up


@pytest.mark.parametrize(
    "body", [b"", b"\x00", b"abc\x00", b"\x00\x14\x1d\x00\x03abc", b"\x04\x25\x00\x01\x03"], ids=range(5)
)
async def test_quirk_8_error_response_with_a_body_without_one_and_with_tlvs(esme, scripted_smsc, body):
    carrier, peer = await bound(esme, scripted_smsc)
    add(carrier, 1)
    submit = await peer.next("submit_sm")
    head = (16 + len(body)).to_bytes(4, "big") + bytes.fromhex("80000004 0000000b")
    peer.write(head + submit.sequence_number.to_bytes(4, "big") + body)
    await until(lambda: carrier.ledger.rejected == 1, "it is rejected")
    (outcome,) = outcomes(carrier)
    assert outcome.status == 0x0B and carrier.is_up


async def test_quirk_8_ok_without_a_message_id_is_accepted(esme, scripted_smsc):
    """Case 32 of the write protocol."""
    carrier, peer = await bound(esme, scripted_smsc)
    add(carrier, 1)
    submit = await peer.next("submit_sm")
    peer.write(bytes.fromhex("00000010 80000004 00000000") + submit.sequence_number.to_bytes(4, "big"))
    await until(lambda: carrier.ledger.accepted == 1, "it is accepted")
    (outcome,) = outcomes(carrier)
    assert outcome.status == 0 and not outcome.message_id


async def test_quirk_9_generic_nack_of_a_submit_fails_that_one_alone(esme, scripted_smsc):
    carrier, peer = await bound(esme, scripted_smsc, window=2)
    add(carrier, 2)
    first, second = [await peer.next("submit_sm") for _ in range(2)]
    peer.send("generic_nack", first.sequence_number, 0x03)
    peer.answer(second, message_id="1")
    await until(lambda: carrier.ledger.responses == 2, "both are answered")
    assert sorted(outcome.status for outcome in outcomes(carrier)) == [0, 3] and carrier.is_up


async def test_quirk_9_generic_nack_with_number_0_drains_and_reconnects(esme, scripted_smsc):
    carrier, peer = await bound(esme, scripted_smsc)
    peer.send("generic_nack", 0, 0x02)
    assert await peer.gone() == b""
    await (await scripted_smsc.accept()).bind()
    await all_bound(carrier)


# -- 10 to 12 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0x400, 0x4FF, 0x500, 0xDEADBEEF])
async def test_quirk_10_unknown_status_is_permanent_and_its_number_is_kept(esme, scripted_smsc, status):
    """Case 33 of the write protocol."""
    carrier, peer = await bound(esme, scripted_smsc)
    add(carrier, 1)
    peer.answer(await peer.next("submit_sm"), status)
    await until(lambda: carrier.ledger.rejected == 1, "it is rejected")
    (outcome,) = outcomes(carrier)
    assert outcome.status == min(status, 0x7FFFFFFF) and carrier.is_up


async def test_quirk_11_unknown_command_is_nacked_with_its_number(esme, scripted_smsc):
    carrier, peer = await bound(esme, scripted_smsc)
    peer.write(bytes.fromhex("00000010 00000a00 00000000 0000002a"))
    nack = await peer.next("generic_nack")
    assert (nack.command_status, nack.sequence_number) == (3, 42) and carrier.is_up


async def test_quirk_11_unknown_tlv_is_passed_over(esme, scripted_smsc):
    carrier = esme(scripted_smsc.port)
    peer = await scripted_smsc.accept()
    request = await peer.next("bind_transceiver")
    peer.answer(request, 0, {"system_id": "smsc"}, [(0x1401, b"x" * 40), (0x0210, b"\x34")])
    await all_bound(carrier)
    assert carrier.binds[0].link.session.version == 0x34


@pytest.mark.parametrize("octets", [9, 20, 64])
async def test_quirk_12_long_password_is_sent_where_it_is_allowed(esme, smsc, octets):
    centre = await smsc(account=(Account(system_id="acme", password="x" * octets),))
    await all_bound(esme(centre.port, system_id="acme", password="x" * octets, long_password=True))


# -- 13 to 15: binds of one account ------------------------------------------------------------------------------------


@pytest.mark.parametrize("binds", [1, 3])
async def test_quirk_13_session_is_recycled_before_its_last_message_and_nothing_is_lost(esme, smsc, binds):
    centre = await smsc()
    most, n = 200, 3000
    carrier = esme(centre.port, binds=binds, window=20, recycle_after=most)
    spent = []
    for bind in carrier.binds:
        bind.on_lost = lambda link, reason, lost=bind.on_lost: (spent.append(link.submitted), lost(link, reason))
    least_up = []
    carrier.on_change, changed = (
        lambda: (least_up.append(sum(bind.is_bound for bind in carrier.binds)), changed()),
        carrier.on_change,
    )
    await all_bound(carrier)
    least_up.clear()
    for chunk_id in range(1, 4):
        add(carrier, 1000, chunk_id=chunk_id)
    await until(lambda: carrier.ledger.accepted == n, "all are accepted")
    assert carrier.ledger.uncertain == 0 and carrier.ledger.submitted == n
    assert len(spent) >= n // most - binds and max(spent) <= most
    assert min(least_up) >= binds - 1
    assert [bind._failures for bind in carrier.binds] == [0] * binds


async def test_quirk_13_recycled_session_unbinds_behind_its_last_response(esme, scripted_smsc):
    carrier, peer = await bound(esme, scripted_smsc, window=2, recycle_after=4)
    add(carrier, 6)
    submits = [await peer.next("submit_sm") for _ in range(2)]
    peer.answer(submits[0], message_id="1")
    submits.append(await peer.next("submit_sm"))  # the third; a fourth could be followed by a fifth
    for submit in submits[1:]:
        peer.answer(submit, message_id="1")
    peer.answer(await peer.next("unbind"))
    assert await peer.gone() == b""
    again = await scripted_smsc.accept()
    await again.bind()
    await again.next("submit_sm")


async def test_quirk_14_pair_acts_as_one_and_a_transmitter_holds_without_its_receiver(esme, scripted_smsc):
    now = Now()
    carrier = esme(scripted_smsc.port, bind="tx+rx", clock=now, receiver_grace_s=10.0, refused_pause_s=600.0)
    tx = await scripted_smsc.accept()
    await tx.bind()
    rx = await scripted_smsc.accept()
    await rx.bind(status=0x0E)
    await until(lambda: carrier.binds[1].alarm, "the receiver is refused")
    add(carrier, 1)
    tx.answer(await tx.next("submit_sm"), message_id="1")
    now.forward(10.5)
    carrier._mind_receivers(now())
    assert not carrier.is_up and "no receiver bound for 1" in carrier.reports()[0].alarm
    add(carrier, 1, chunk_id=2)
    assert carrier.ledger.submitted == 1
    carrier.binds[1].phase = Phase.BOUND
    carrier._mind_receivers(now())
    carrier.binds[1].phase = Phase.DOWN
    carrier.pump()
    await tx.next("submit_sm")
    assert carrier.is_up


async def test_quirk_14_receipts_on_the_receivers_are_of_the_account_whichever_transmitter_sent(esme, smsc):
    centre = await smsc()
    carrier = esme(centre.port, bind="tx+rx", binds=2)
    await all_bound(carrier)
    add(carrier, 100, receipts=True)
    ledger = carrier.ledger
    # One that overtakes its response on the other connection waits for it in Postgres.
    await until(lambda: ledger.receipts_matched + ledger.receipts_waiting == 100, "all are in")
    assert ledger.receipts_matched and not carrier.requests


async def test_quirk_15_every_bind_says_its_host_and_another_host_takes_over(esme, scripted_smsc, smsc):
    first, second = await smsc(), await smsc()
    hosts = (f"127.0.0.1:{second.port}",)
    carrier = esme(first.port, binds=2, hosts=hosts, host_policy="spread", reconnect_longest_s=60.0)
    await all_bound(carrier)
    assert [report.host for report in carrier.reports()] == [f"127.0.0.1:{first.port}", f"127.0.0.1:{second.port}"]
    await first.stop()
    await until(lambda: carrier.binds[0].binds == 2 and carrier.binds[0].is_bound, "it has failed over")
    assert [bind.host for bind in carrier.binds] == [f"127.0.0.1:{second.port}"] * 2


# -- half-dead ---------------------------------------------------------------------------------------------------------


async def test_session_that_takes_messages_and_gives_no_receipts_is_an_alarm_and_is_bound_anew(esme, scripted_smsc):
    now = Now()
    carrier, peer = await bound(esme, scripted_smsc, clock=now, window=20, half_dead_s=30.0)
    add(carrier, 20, receipts=True)
    for _ in range(20):
        peer.answer(await peer.next("submit_sm"), message_id="1")
    await until(lambda: carrier.ledger.accepted == 20, "all are accepted")
    carrier._recycle(now())
    now.forward(31.0)
    carrier._recycle(now())
    assert carrier.reports()[0].alarm.startswith("half-dead: 20 messages accepted and no receipt for 3")
    carrier._look_after(carrier.binds[0], carrier.binds[0].link, now())
    peer.answer(await peer.next("unbind"))
    again = await scripted_smsc.accept()
    await again.bind()
    await all_bound(carrier)
    again.send("deliver_sm", 1, fields=RECEIPT)
    await again.next("deliver_sm_resp")
    now.forward(2.0)
    carrier._recycle(now())
    assert carrier.reports()[0].alarm == "" and carrier.binds[0].binds == 2
