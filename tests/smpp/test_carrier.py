"""All binds of an account: windows, the one throttle, refusals of the moment, silence, sessions that are no good."""

import asyncio
from collections import Counter

import pytest

from gateway.simulator.behaviour import Account, Drops, Limit, Responses
from gateway.smpp import carrier as carriers
from gateway.smpp.bind import Phase
from gateway.smpp.breaker import TRIES
from tests.fixtures.carriers import FIRST_NUMBER, UNCERTAIN, add, all_bound, outcomes
from tests.fixtures.now import Now, until


async def bound(esme, scripted_smsc, **settings):
    """Bring every bind up; -> the carrier and the SMSC's ends, in the order of the binds."""
    carrier = esme(scripted_smsc.port, **settings)
    peers = []
    for _ in carrier.binds:
        peers.append(await scripted_smsc.accept())
        await peers[-1].bind()
    await all_bound(carrier)
    return carrier, peers


async def settled(carrier):
    await until(lambda: not carrier.backlog.unsent and not carrier.backlog.in_flight, "all is settled")


# -- binds share ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bind", "binds"), [("trx", 1), ("trx", 4), ("tx+rx", 2)])
async def test_all_messages_and_receipts_come_through_whatever_binds_there_are(esme, smsc, bind, binds):
    centre = await smsc()
    carrier = esme(centre.port, bind=bind, binds=binds, window=7)
    await all_bound(carrier)
    add(carrier, 500, receipts=True)
    await settled(carrier)
    ledger = carrier.ledger
    await until(lambda: ledger.receipts_matched + ledger.receipts_waiting == 500, "every receipt is here")
    found = outcomes(carrier)
    assert sorted(outcome.pos for outcome in found) == list(range(500))
    assert {outcome.status for outcome in found} == {0} and len({outcome.message_id for outcome in found}) == 500
    totals = centre.totals()
    assert totals["submits"] == 500 and totals["peak_window"] <= 7
    await until(lambda: centre.totals()["receipts_acked"] == 500, "every receipt is answered")


async def test_full_bind_does_not_hold_up_the_others(esme, scripted_smsc):
    carrier, (mute, quick) = await bound(esme, scripted_smsc, binds=2, window=5)
    add(carrier, 50)
    for _ in range(45):
        quick.answer(await quick.next("submit_sm"), message_id="1")
    await until(lambda: carrier.in_flight == 5, "only the mute bind is waited for")
    assert carrier.binds[0].link.exchange.window.in_flight == 5
    assert len(outcomes(carrier)) == 45 and carrier.backlog.unsent == 0
    for _ in range(5):
        await mute.next("submit_sm")


async def test_bind_that_comes_back_takes_part_again(esme, smsc):
    centre = await smsc(drops=Drops(every=40, answers_first=True))
    carrier = esme(centre.port, binds=2, window=4)
    await all_bound(carrier)
    add(carrier, 400)
    await settled(carrier)
    found = outcomes(carrier)
    assert sorted(outcome.pos for outcome in found) == list(range(400))
    # What was on its way to a link that is cut never arrives, so there are fewer cuts than 400 / 40.
    assert centre.totals()["cuts"] >= 3 and sum(bind.binds for bind in carrier.binds) >= 4
    assert carrier.ledger.accepted + carrier.ledger.uncertain == 400


# -- the throttle -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tps", [1, 7, 100])
async def test_limit_holds_in_every_sliding_second_over_all_binds_as_the_smsc_counts(esme, scripted_smsc, tps):
    now = Now()
    carrier, peers = await bound(esme, scripted_smsc, binds=3, window=50, tps=tps, clock=now)
    arrivals = []

    async def serve(peer):
        while True:
            submit = await peer.next()
            if submit.command == "submit_sm":
                arrivals.append(now())
                peer.answer(submit, message_id="1")

    serving = [asyncio.create_task(serve(peer)) for peer in peers]
    start = now()
    add(carrier, 3 * tps)
    while True:
        # Answers may let more leave at the same moment: all of it has arrived before the clock goes on.
        await until(lambda: carrier.ledger.responses == carrier.ledger.submitted, "what has left is answered")
        if carrier.ledger.responses == 3 * tps:
            break
        now.forward(0.5 / tps)
        carrier.pump()
        assert now() - start < 4, "the limit is not only kept but used"
    for task in serving:
        task.cancel()
    for first in arrivals:
        assert sum(first <= at < first + 1.0 for at in arrivals) <= tps
    assert len(arrivals) == 3 * tps


async def test_simulator_with_the_same_limit_refuses_nothing(esme, smsc):
    # A tenth below the SMSC's own, since what we send evenly arrives in heaps.
    centre = await smsc(account=(Account(tps=1100),), limit=Limit(model="sliding"))
    carrier = esme(centre.port, binds=3, tps=1000)
    await all_bound(carrier)
    add(carrier, 600)
    await settled(carrier)
    assert carrier.ledger.throttled == 0 == centre.totals()["throttled"]


async def test_bind_that_the_throttle_stops_in_the_middle_of_a_read_is_woken_without_a_tick(
    esme, scripted_smsc, monkeypatch
):
    monkeypatch.setattr(carriers, "TICK_S", 3600.0)
    carrier, (peer,) = await bound(esme, scripted_smsc, window=1, tps=500)
    add(carrier, 20)
    for _ in range(20):
        peer.answer(await peer.next("submit_sm"), message_id="1")
    await settled(carrier)


async def test_sooner_moment_replaces_a_later_one(esme, scripted_smsc):
    carrier, (peer,) = await bound(esme, scripted_smsc, retry_delay_s=3000.0, throttle_pause_s=0.001, window=2)
    add(carrier, 2)
    first, second = await peer.next("submit_sm"), await peer.next("submit_sm")
    peer.answer(first, 0x08)
    await until(lambda: carrier._wake.at is not None, "a far moment is set")
    assert carrier._wake.at > carrier._clock() + 1000
    peer.answer(second, 0x58)
    again = await peer.next("submit_sm")
    assert again.fields["destination_addr"] == second.fields["destination_addr"]


# -- answers that are not the last word -------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "statuses"), [(0x58, {}), (0x14, {"RMSGQFUL": "throttle"})])
async def test_throttled_segment_goes_first_after_the_pause_and_burns_no_attempt(esme, scripted_smsc, status, statuses):
    """Case 17 of the write protocol."""
    now = Now()
    carrier, (peer,) = await bound(
        esme, scripted_smsc, window=1, max_attempts=1, throttle_pause_s=0.2, clock=now, statuses=statuses
    )
    add(carrier, 3)
    submit = await peer.next("submit_sm")
    for n in range(5):
        peer.answer(submit, status)
        await until(lambda n=n: carrier.ledger.throttled == n + 1, "the refusal is known")
        if n == 0:
            # Others go on meanwhile.
            peer.answer(await peer.next("submit_sm"), message_id="2")
            peer.answer(await peer.next("submit_sm"), message_id="3")
            await until(lambda: carrier.ledger.accepted == 2, "the others are through")
        assert carrier.in_flight == 0
        now.forward(0.21)
        carrier.pump()
        again = await peer.next("submit_sm")
        assert again.fields["destination_addr"] == submit.fields["destination_addr"]
        submit = again
    peer.answer(submit, message_id="1")
    await settled(carrier)
    assert Counter(outcome.status for outcome in outcomes(carrier)) == {0: 3}


async def test_throttled_segment_overtakes_those_that_were_never_sent(esme, scripted_smsc):
    now = Now()
    carrier, (peer,) = await bound(esme, scripted_smsc, window=1, throttle_pause_s=0.001, clock=now)
    add(carrier, 3)
    submit = await peer.next("submit_sm")
    other = None
    peer.answer(submit, 0x58)
    other = await peer.next("submit_sm")
    now.forward(0.01)
    peer.answer(other, message_id="1")
    again = await peer.next("submit_sm")
    assert again.fields["destination_addr"] == submit.fields["destination_addr"]


async def test_trouble_of_the_moment_is_tried_so_often_and_then_the_last_answer_stands(esme, smsc):
    centre = await smsc(responses=Responses(errors={"RSYSERR": 1.0}))
    carrier = esme(centre.port, max_attempts=3, retry_delay_s=0.001)
    await all_bound(carrier)
    add(carrier, 5)
    await settled(carrier)
    assert [outcome.status for outcome in outcomes(carrier)] == [0x08] * 5
    assert centre.totals()["submits"] == 15


@pytest.mark.parametrize("status", [0x0A, 0x0B, 0x45D, 0x12345678, 0xFFFFFFFF])
async def test_last_word_is_written_down_once(esme, scripted_smsc, status):
    carrier, (peer,) = await bound(esme, scripted_smsc)
    add(carrier, 1)
    peer.answer(await peer.next("submit_sm"), status)
    await settled(carrier)
    (outcome,) = outcomes(carrier)
    assert outcome.status == min(status, 0x7FFFFFFF) and outcome.message_id is None and carrier.is_up


async def test_generic_nack_for_a_submit_fails_that_one_and_the_session_stays(esme, scripted_smsc):
    carrier, (peer,) = await bound(esme, scripted_smsc, window=3)
    add(carrier, 3)
    submits = [await peer.next("submit_sm") for _ in range(3)]
    peer.send("generic_nack", submits[1].sequence_number, 0x03)
    peer.answer(submits[0], message_id="1")
    peer.answer(submits[2], message_id="3")
    await settled(carrier)
    found = {outcome.pos: outcome.status for outcome in outcomes(carrier)}
    nacked = int(submits[1].fields["destination_addr"]) - FIRST_NUMBER
    assert found[nacked] == 0x03 and sorted(found.values()) == [0, 0, 3] and carrier.is_up


async def test_generic_nack_with_number_0_drains_and_binds_anew(esme, scripted_smsc):
    """Case 21 of the write protocol."""
    carrier, (peer,) = await bound(esme, scripted_smsc, window=3)
    add(carrier, 8)
    submits = [await peer.next("submit_sm") for _ in range(3)]
    peer.send("generic_nack", 0, 0x02)
    await until(lambda: carrier.binds[0].phase is Phase.DRAINING, "it drains")
    for submit in submits:
        peer.answer(submit, message_id="1")
    assert await peer.gone() == b"", "nothing more is submitted here"
    assert "lost our framing" in carrier.binds[0].last_error and carrier.ledger.uncertain == 0
    peer = await scripted_smsc.accept()
    await peer.bind()
    for _ in range(5):
        peer.answer(await peer.next("submit_sm"), message_id="1")
    await settled(carrier)


async def test_session_that_may_not_submit_is_bound_anew_and_its_segments_are_sent_again(esme, scripted_smsc):
    carrier, (peer,) = await bound(esme, scripted_smsc, window=3, retry_delay_s=0.001, max_attempts=1)
    add(carrier, 3)
    submits = [await peer.next("submit_sm") for _ in range(3)]
    peer.answer(submits[0], 0x04)
    await until(lambda: carrier.binds[0].phase is Phase.DRAINING, "it drains")
    peer.answer(submits[1], 0x04)
    peer.answer(submits[2], message_id="1")
    assert await peer.gone() == b"" and carrier.ledger.uncertain == 0
    peer = await scripted_smsc.accept()
    await peer.bind()
    for _ in range(2):
        peer.answer(await peer.next("submit_sm"), message_id="1")
    await settled(carrier)
    assert [outcome.status for outcome in outcomes(carrier)] == [0, 0, 0]


# -- silence ----------------------------------------------------------------------------------------------------------


async def pass_time(now, seconds, ticks=1):
    """Let time pass in steps that no tick takes for a frozen process."""
    while seconds > 0:
        now.forward(min(seconds, 0.9))
        seconds -= 0.9
        seen = now.reads
        await until(lambda seen=seen: now.reads >= seen + 2 * ticks, "the carrier looked at the clock")


class Watched(Now):
    """A clock that counts how often it is read."""

    reads = 0

    def __call__(self):
        self.reads += 1
        return self.at


async def test_submit_that_is_not_answered_in_time_is_in_doubt_and_a_late_answer_still_counts(
    esme, scripted_smsc, monkeypatch
):
    """Case 1 of the write protocol."""
    monkeypatch.setattr(carriers, "TICK_S", 0.001)
    now = Watched()
    carrier, (peer,) = await bound(esme, scripted_smsc, window=2, response_timeout_s=2.0, clock=now)
    add(carrier, 3)
    submits = [await peer.next("submit_sm") for _ in range(2)]
    await pass_time(now, 2.5)
    await until(lambda: carrier.ledger.uncertain == 2, "both are in doubt")
    peer.answer(await peer.next("submit_sm"), message_id="3")  # their slots are free
    await until(lambda: carrier.ledger.accepted == 1, "the third is through")
    peer.answer(submits[0], message_id="1")
    await until(lambda: carrier.ledger.accepted == 2, "the late answer is taken")
    statuses = Counter((outcome.pos, outcome.status) for outcome in outcomes(carrier))
    late = int(submits[0].fields["destination_addr"]) - FIRST_NUMBER
    assert statuses[late, UNCERTAIN] == 1 == statuses[late, 0] and max(statuses.values()) == 1
    assert carrier.is_up and carrier.binds[0].binds == 1


async def test_session_without_any_answer_is_given_up(esme, scripted_smsc, monkeypatch):
    """Case 1 of the write protocol."""
    monkeypatch.setattr(carriers, "TICK_S", 0.001)
    now = Watched()
    carrier, (peer,) = await bound(
        esme, scripted_smsc, window=1, response_timeout_s=2.0, enquire_link_s=600.0, clock=now
    )
    add(carrier, 10)
    for _ in range(2):
        await peer.next("submit_sm")
        await pass_time(now, 2.5)
    await peer.gone()
    assert carrier.binds[0].last_error == "no responses any more"
    assert carrier.ledger.uncertain == 2 == carrier.ledger.submitted, "nothing was put in doubt on the way out"
    await (await scripted_smsc.accept()).bind()
    await all_bound(carrier)


async def test_half_open_link_is_found_by_two_enquire_links(esme, scripted_smsc, flaky_proxy, monkeypatch):
    """Case 19 of the write protocol."""
    monkeypatch.setattr(carriers, "TICK_S", 0.001)
    now = Watched()
    proxy = await flaky_proxy(scripted_smsc.port)
    carrier = esme(proxy.port, enquire_link_s=3.0, clock=now)
    peer = await scripted_smsc.accept()
    await peer.bind()
    await all_bound(carrier)
    await pass_time(now, 4.0)
    peer.answer(await peer.next("enquire_link"))
    link = carrier.binds[0].link
    await until(lambda: not link.session.in_flight, "the answer is here")
    proxy.stall()
    add(carrier, 2)
    await pass_time(now, 15.0)
    await until(lambda: link.is_lost, "the link is taken for dead")
    assert "enquire_link" in link.reason and carrier.ledger.uncertain == 2


async def test_traffic_keeps_the_enquire_link_away(esme, scripted_smsc, monkeypatch):
    monkeypatch.setattr(carriers, "TICK_S", 0.001)
    now = Watched()
    carrier, (peer,) = await bound(esme, scripted_smsc, enquire_link_s=3.0, clock=now)
    for n in range(10):
        add(carrier, 1, chunk_id=n + 1)
        peer.answer(await peer.next("submit_sm"), message_id="1")
        await until(lambda n=n: carrier.ledger.accepted == n + 1, "it is answered")
        await pass_time(now, 0.9)


async def test_process_that_was_frozen_reads_before_it_judges(esme, scripted_smsc, monkeypatch):
    """Case 16 of the write protocol."""
    monkeypatch.setattr(carriers, "TICK_S", 0.001)
    now = Watched()
    carrier, (peer,) = await bound(esme, scripted_smsc, window=5, response_timeout_s=30.0, clock=now)
    add(carrier, 5)
    submits = [await peer.next("submit_sm") for _ in range(5)]
    for submit in submits:
        peer.answer(submit, message_id="1")
    now.forward(600.0)  # stopped by a signal, or the machine slept
    await settled(carrier)
    assert [outcome.status for outcome in outcomes(carrier)] == [0] * 5 and carrier.is_up


# -- an SMSC that takes nothing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0x0B, 0x45], ids=["for good", "for the moment"])
async def test_smsc_that_refuses_everything_gets_a_few_a_minute_and_all_again_when_it_takes_one(
    esme, scripted_smsc, monkeypatch, status
):
    """Fault 46: a route that is set wrongly does not use up a campaign."""
    monkeypatch.setattr(carriers, "TICK_S", 0.001)
    now = Watched()
    carrier, (peer,) = await bound(
        esme, scripted_smsc, window=5, breaker_after=20, retry_delay_s=0.01, max_attempts=100, enquire_link_s=3600.0,
        clock=now,
    )  # fmt: skip
    takes: list[bool] = []

    async def answers():
        while True:
            submit = await peer.next("submit_sm")
            peer.answer(submit, message_id="1") if takes else peer.answer(submit, status=status)

    answering = asyncio.create_task(answers())
    add(carrier, 1000)
    most = 0
    for minute in range(3):
        await until(lambda: carrier.alarm and not carrier.in_flight, "it holds back")
        await pass_time(now, 0.1)
        sent = carrier.ledger.submitted
        # What left between the answer and the look that followed is a few windows here.
        most = most or sent
        assert 20 <= most < 500 and sent <= most + minute * TRIES, minute
        assert carrier.alarm.startswith("takes nothing: ") and carrier.is_up
        assert carrier.account().verdict.startswith("carrier-bound: it takes nothing")
        assert carrier.reports()[0].alarm == carrier.alarm
        await pass_time(now, 62.0)
        await until(lambda sent=sent: carrier.ledger.submitted == sent + TRIES, "a few are tried")
    takes.append(True)
    await pass_time(now, 62.0)
    await until(lambda: not carrier.alarm, "one is accepted")
    while carrier.backlog.unsent or carrier.backlog.in_flight:
        await pass_time(now, 1.0)
    assert carrier.ledger.accepted == 1000 - carrier.ledger.rejected >= 500
    answering.cancel()


async def test_smsc_that_answers_nothing_is_tried_with_a_few_a_minute_and_a_change_of_settings_ends_that(
    esme, scripted_smsc, monkeypatch
):
    """Fault 46: its binds come up again and again, and each time a window would be in doubt."""
    monkeypatch.setattr(carriers, "TICK_S", 0.001)
    now = Watched()
    carrier = esme(
        scripted_smsc.port, window=4, breaker_after=10, response_timeout_s=2.0, enquire_link_s=3600.0, clock=now
    )

    async def binds():
        while True:
            await (await scripted_smsc.accept()).bind()

    binding = asyncio.create_task(binds())
    add(carrier, 100)
    while not carrier.alarm:
        await all_bound(carrier)
        await pass_time(now, 0.5)
    await until(lambda: not carrier.in_flight, "its session is given up")
    await all_bound(carrier)
    sent = carrier.ledger.submitted
    assert sent <= 20
    await pass_time(now, 30.0)
    assert carrier.ledger.submitted == sent
    carrier.tune(carrier.settings)
    assert not carrier.alarm
    await until(lambda: carrier.ledger.submitted == sent + 4, "it goes on with a window")
    binding.cancel()


# -- others -----------------------------------------------------------------------------------------------------------


async def test_carrier_that_is_down_keeps_its_messages_and_says_why(esme, scripted_smsc):
    port = scripted_smsc.port
    scripted_smsc.stop()
    carrier = esme(port, reconnect_longest_s=600.0)
    add(carrier, 10)
    await until(lambda: carrier.binds[0].last_error, "the first attempt failed")
    report = carrier.reports()[0]
    assert report.last_error and report.bound_by == "carrier" and not carrier.is_up
    assert carrier.backlog.unsent == 10 and outcomes(carrier) == []


async def test_each_bind_tells_its_own_last_second(esme, scripted_smsc, monkeypatch):
    monkeypatch.setattr(carriers, "TICK_S", 0.001)
    now = Now()
    carrier, (busy, mute) = await bound(esme, scripted_smsc, binds=2, window=5, clock=now)
    await until(
        lambda: all(meter._exchange is not None for meter in carrier._meters.values()), "both binds are looked at"
    )
    add(carrier, 14)
    for _ in range(9):
        submit = await busy.next("submit_sm")
        now.forward(0.004)
        busy.answer(submit, message_id="1")
    await until(lambda: carrier.ledger.accepted == 9, "all of one bind is answered")
    now.forward(1.0)
    await until(lambda: carrier.reports()[0].sent_per_s, "a second has passed")
    first, second = carrier.reports()
    assert first.sent_per_s == pytest.approx(9 / 1.036, rel=0.01) and first.p50_ms is not None
    assert second.sent_per_s == pytest.approx(5 / 1.036, rel=0.01) and second.p50_ms is second.p99_ms is None
    assert first.p50_ms <= first.p99_ms <= 40 and first.throttled_share == 0.0
    assert first.verdict.startswith("idle") and second.verdict.startswith("idle")
    mute.close()
    await until(lambda: carrier.reports()[1].sent_per_s == 0.0, "the bind is gone")
    assert carrier.reports()[1].verdict.startswith("carrier-bound")


async def test_account_of_binds_that_receive_alone_says_nothing_of_their_sending(esme, scripted_smsc):
    carrier, _ = await bound(esme, scripted_smsc, bind="tx+rx", binds=1)
    assert [bool(report.verdict) for report in carrier.reports()] == [True, False]


async def test_even_pacing_by_the_real_clock_is_woken_for_each_pdu_by_the_descriptor(esme, smsc):
    centre = await smsc(account=(Account(tps=200),), limit=Limit(model="none"))
    carrier = esme(centre.port, tps=200, pacing="gap", adaptive=False, window=100)
    await all_bound(carrier)
    left = []
    woken = carrier._wake._call
    carrier._wake._call = lambda: (woken(), left.append(carrier._clock()))
    add(carrier, 50)
    await settled(carrier)
    assert len(left) >= 45 and carrier._wake._wakeup is not None
    # Each is woken a gap after the one before, or later; an answer may have come first.
    assert left[-1] - left[0] >= (len(left) - 2) * 0.005


async def test_carrier_that_was_stopped_has_given_its_timer_back_and_takes_one_when_it_starts_again(esme, smsc):
    centre = await smsc()
    carrier = esme(centre.port, tps=1000)
    await all_bound(carrier)
    add(carrier, 200)
    await settled(carrier)
    assert carrier._wake._wakeup is not None
    await carrier.stop()
    assert carrier._wake._wakeup is None and carrier._wake.at is None
    carrier.start()
    await all_bound(carrier)
    add(carrier, 200, chunk_id=2)
    await settled(carrier)
    assert carrier._wake._wakeup is not None


async def test_change_is_told(esme, scripted_smsc):
    carrier, (peer,) = await bound(esme, scripted_smsc, reconnect_longest_s=600.0, reconnect_first_s=600.0)
    carrier.changed.clear()
    peer.close()
    async with asyncio.timeout(10):
        await carrier.changed.wait()
    assert not carrier.is_up


async def test_stop_waits_for_a_throttled_segment_to_have_its_outcome(esme, scripted_smsc):
    carrier, (peer,) = await bound(esme, scripted_smsc, window=1, throttle_pause_s=0.02)
    add(carrier, 5)
    peer.answer(await peer.next("submit_sm"), 0x58)
    await until(lambda: carrier.ledger.throttled == 1, "the refusal is known")
    stopping = asyncio.create_task(carrier.stop())
    statuses = []
    while (pdu := await peer.next()).command == "submit_sm":
        statuses.append(pdu)
        peer.answer(pdu, message_id="1")
    peer.answer(pdu)
    await stopping
    assert carrier.backlog.in_flight == 0 and carrier.ledger.uncertain == 0
    assert len(outcomes(carrier)) == len(statuses) == 5 - carrier.backlog.unsent


async def test_stop_does_not_wait_for_what_is_due_far_in_the_future(esme, scripted_smsc):
    carrier, (peer,) = await bound(esme, scripted_smsc, retry_delay_s=3000.0)
    add(carrier, 1)
    peer.answer(await peer.next("submit_sm"), 0x08)
    await until(lambda: carrier.ledger.retried == 1, "the refusal is known")
    stopping = asyncio.create_task(carrier.stop())
    peer.answer(await peer.next("unbind"))
    await stopping
    assert carrier.backlog.in_flight == 1 and carrier.ledger.uncertain == 0


async def test_ring_of_a_bind_rests_in_a_flood_and_keeps_octets_again_behind_it(esme, scripted_smsc):
    carrier, (peer,) = await bound(esme, scripted_smsc, window=5000, pcap_octets=1024)
    bind = carrier.binds[0]
    assert bind.link.exchange.ring is bind.ring
    now = carrier._clock()
    add(carrier, 2000)
    await until(lambda: bind.link.exchange.submitted == 2000, "the flood is written")
    carrier._seen[bind.name] = (0, now)
    carrier._mind_ring(bind, bind.link, now + 0.05)
    assert bind.link.exchange.ring is None
    carrier._mind_ring(bind, bind.link, now + 1000.0)
    assert bind.link.exchange.ring is bind.ring
