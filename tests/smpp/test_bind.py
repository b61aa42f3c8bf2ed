"""One bind against a scripted SMSC: every way to come up, to be refused, to fall and to come again."""

import asyncio
import logging
import random
import socket
from types import SimpleNamespace

import pytest

from gateway.config import CarrierSettings
from gateway.simulator.behaviour import Account
from gateway.smpp.bind import Bind, Kind, Phase
from gateway.smpp.hosts import Hosts
from tests.fixtures.carriers import add, all_bound, outcomes
from tests.fixtures.now import Now, until


def unconnected(chance=None, **settings):
    """Make a bind that nobody runs."""
    settings = CarrierSettings(host="127.0.0.1", **settings)
    owner = SimpleNamespace(hosts=Hosts(settings.addresses, settings.host_policy, settings.reconnect_longest_s))
    return Bind("acme#1", Kind.TRX, settings, owner, Now(), chance or random.Random(7))


# -- coming up --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bind", ["trx", "tx+rx"])
async def test_binds_come_up_as_the_settings_say(esme, smsc, bind):
    centre = await smsc()
    carrier = esme(centre.port, bind=bind, binds=3)
    await all_bound(carrier)
    assert len(carrier.binds) == (3 if bind == "trx" else 6) == centre.links == centre.totals()["binds"]
    assert carrier.is_up and [report.last_error for report in carrier.reports()] == [""] * len(carrier.binds)


async def test_bind_request_carries_the_credentials(esme, scripted_smsc):
    esme(scripted_smsc.port, system_id="acme", password="pw", system_type="VMA", address_range="447*", version="5.0")
    request = await (await scripted_smsc.accept()).bind()
    wanted = ("acme", "pw", "VMA", "447*", 0x50)
    assert request.command == "bind_transceiver"
    assert (
        tuple(request.fields[name] for name in ("system_id", "password", "system_type", "address_range")) == wanted[:4]
    )
    assert request.fields["interface_version"] == wanted[4]


@pytest.mark.parametrize(
    ("ours", "theirs", "assumed", "spoken"),
    [
        ("3.3", 0x34, "", 0x33),
        ("3.4", None, "", 0x33),
        ("3.4", None, "3.4", 0x34),
        ("3.4", 0x50, "", 0x34),
        ("5.0", 0x34, "", 0x34),
        ("5.0", 0x50, "", 0x50),
    ],
)
async def test_lower_version_is_spoken(esme, scripted_smsc, ours, theirs, assumed, spoken):
    kind = "tx+rx" if ours == "3.3" else "trx"
    carrier = esme(scripted_smsc.port, version=ours, bind=kind, assume_version=assumed)
    for _ in carrier.binds:
        await (await scripted_smsc.accept()).bind(version=theirs)
    await all_bound(carrier)
    assert [bind.link.session.version for bind in carrier.binds] == [spoken] * len(carrier.binds)


async def test_one_bind_of_an_account_tries_at_a_time(esme, scripted_smsc):
    carrier = esme(scripted_smsc.port, binds=3)
    for n in range(3):
        peer = await scripted_smsc.accept()
        phases = [bind.phase for bind in carrier.binds]
        assert phases.count(Phase.BOUND) == n and phases.count(Phase.DOWN) == 2 - n
        assert scripted_smsc.waiting == 0 and scripted_smsc.connections == n + 1
        await peer.bind()
        await until(lambda n=n: sum(bind.is_bound for bind in carrier.binds) == n + 1, "one more is bound")


@pytest.mark.parametrize("version", [None, 0x33])
@pytest.mark.parametrize("concatenation", ["sar", "payload"])
async def test_nothing_is_sent_by_tlvs_to_a_peer_that_is_not_known_to_read_them(
    esme, scripted_smsc, version, concatenation, caplog
):
    caplog.set_level(logging.WARNING, "gateway.smpp.bind")
    carrier = esme(scripted_smsc.port, concatenation=concatenation)
    add(carrier, 3)
    await (await scripted_smsc.accept()).bind(version=version)
    await until(lambda: "again in" in caplog.text, "the pause is announced")
    assert "needs TLVs" in carrier.reports()[0].last_error and "assume_version" in carrier.reports()[0].last_error
    assert carrier.ledger.submitted == 0


# -- not coming up ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0x0D, 0x0E, 0x0F, 0x53, 0x03])
async def test_refusal_that_asks_for_a_person_waits_long_and_says_why(esme, scripted_smsc, status, caplog):
    caplog.set_level(logging.WARNING, "gateway.smpp.bind")
    carrier = esme(scripted_smsc.port, refused_pause_s=600.0)
    await (await scripted_smsc.accept()).bind(status=status)
    await until(lambda: "again in" in caplog.text, "the pause is announced")
    pause_s = float(caplog.text.rsplit("again in ", 1)[1].split(" s")[0])
    assert 300 <= pause_s <= 600
    report = carrier.reports()[0]
    assert report.phase == "down" and f"0x{status:02x}" in report.last_error and "refused" in report.last_error
    assert "secret" not in report.last_error and not carrier.is_up


async def test_refusal_of_the_moment_is_tried_again(esme, smsc):
    centre = await smsc(account=(Account(bind_refusals=("RALYBND", "RBINDFAIL", "RSYSERR", "RTHROTTLED")),))
    carrier = esme(centre.port)
    await all_bound(carrier)
    assert centre.totals()["binds_refused"] == 4 and carrier.binds[0].binds == 1


async def test_wrong_password_at_the_simulator_is_a_refusal(esme, smsc):
    centre = await smsc(account=(Account(system_id="acme", password="right"),))
    carrier = esme(centre.port, system_id="acme", password="wrong", refused_pause_s=60.0)
    await until(lambda: carrier.binds[0].last_error, "the refusal is known")
    assert "ESME_RINVPASWD" in carrier.binds[0].last_error


async def test_refused_connection_is_tried_again_until_somebody_listens(esme, scripted_smsc):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        carrier = esme(taken.getsockname()[1])
        await until(lambda: carrier.binds[0]._failures >= 2, "two attempts failed")
        assert "refused" in carrier.binds[0].last_error or "Connect call failed" in carrier.binds[0].last_error
        scripted_smsc.stop()
        port = taken.getsockname()[1]
    scripted_smsc.port = port
    await scripted_smsc.start()
    await (await scripted_smsc.accept()).bind()
    await all_bound(carrier)


async def test_host_that_no_resolver_takes_is_an_error_and_no_end(esme):
    carrier = esme(1, begin=False)
    bind = carrier.binds[0]
    bind._settings = CarrierSettings(host="a..b\u00e9", port=1)
    assert not await bind._try()
    assert bind.last_error and bind.phase is Phase.DOWN


async def test_smsc_that_accepts_and_is_mute_is_left_after_the_time_allowed(esme, scripted_smsc):
    carrier = esme(scripted_smsc.port, bind_timeout_s=0.05)
    peer = await scripted_smsc.accept()
    await peer.next("bind_transceiver")
    assert await peer.gone() == b""
    assert "no answer to bind_transceiver within 0.05 s" in carrier.binds[0].last_error
    await (await scripted_smsc.accept()).bind()
    await all_bound(carrier)


@pytest.mark.parametrize("way", ["close", "reset"])
async def test_smsc_that_accepts_and_closes_is_tried_again(esme, scripted_smsc, way):
    carrier = esme(scripted_smsc.port)
    for _ in range(3):
        getattr(await scripted_smsc.accept(), way)()
    await (await scripted_smsc.accept()).bind()
    await all_bound(carrier)


async def test_bind_answered_with_a_generic_nack_is_refused(esme, scripted_smsc):
    carrier = esme(scripted_smsc.port, refused_pause_s=60.0)
    peer = await scripted_smsc.accept()
    request = await peer.next()
    peer.send("generic_nack", request.sequence_number, 0x03)
    await until(lambda: carrier.binds[0].last_error, "the refusal is known")
    assert "ESME_RINVCMDID" in carrier.binds[0].last_error


async def test_generic_nack_without_a_fault_is_no_bind(esme, scripted_smsc):
    carrier = esme(scripted_smsc.port)
    peer = await scripted_smsc.accept()
    request = await peer.next()
    peer.send("generic_nack", request.sequence_number, 0)
    assert await peer.gone() == b"" and carrier.binds[0].binds == 0
    await (await scripted_smsc.accept()).bind()
    await all_bound(carrier)


# -- back-off ---------------------------------------------------------------------------------------------------------


def test_jitter_is_full_and_doubles_to_the_longest():
    bind = unconnected(reconnect_first_s=1.0, reconnect_longest_s=60.0)
    for failures, span_s in ((0, 1), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (5000, 60)):
        bind._failures = failures
        drawn = sorted(bind.backoff_s() for _ in range(2000))
        assert 0 <= drawn[0] < span_s * 0.01 and span_s * 0.99 < drawn[-1] <= span_s == bind.span_s()
        assert abs(sum(drawn) / len(drawn) - span_s / 2) < span_s * 0.05


def test_jitter_comes_from_the_chance_that_was_given():
    assert unconnected(random.Random(3)).backoff_s() == unconnected(random.Random(3)).backoff_s()
    assert unconnected(random.Random(3)).backoff_s() != unconnected(random.Random(4)).backoff_s()


async def test_binds_that_do_not_last_count_as_failures_and_one_that_lasts_begins_anew(esme, scripted_smsc):
    now = Now()
    carrier = esme(scripted_smsc.port, clock=now, reconnect_longest_s=0.04)
    bind = carrier.binds[0]
    for n in range(1, 4):
        peer = await scripted_smsc.accept()
        await peer.bind()
        await until(lambda n=n: bind.binds == n, "it is bound")
        peer.close()
        await until(lambda: not bind.is_bound, "it is lost")
        await until(lambda n=n: bind._failures == n, f"{n} binds did not last")
    peer = await scripted_smsc.accept()
    await peer.bind()
    await all_bound(carrier)
    now.forward(0.5)
    peer.close()
    await until(lambda: bind._failures == 1, "the count began anew")


# -- falling ----------------------------------------------------------------------------------------------------------


async def test_unbind_of_the_smsc_is_answered_and_bound_again(esme, scripted_smsc):
    carrier = esme(scripted_smsc.port)
    peer = await scripted_smsc.accept()
    await peer.bind()
    await all_bound(carrier)
    peer.send("unbind", 77)
    answer = await peer.next("unbind_resp")
    assert answer.sequence_number == 77
    assert await peer.gone() == b""
    assert carrier.binds[0].last_error == "unbound by the SMSC"
    await (await scripted_smsc.accept()).bind()
    await all_bound(carrier)


async def test_clean_stop_waits_for_the_window_unbinds_and_leaves_nothing_in_doubt(esme, scripted_smsc):
    carrier = esme(scripted_smsc.port, window=10)
    peer = await scripted_smsc.accept()
    await peer.bind()
    await all_bound(carrier)
    add(carrier, 30)
    submits = [await peer.next("submit_sm") for _ in range(10)]
    stopping = asyncio.create_task(carrier.stop())
    await until(lambda: carrier.binds[0].link.exchange.draining, "it drains")
    for submit in submits:
        peer.answer(submit, message_id=f"{submit.sequence_number}")
    unbind = await peer.next("unbind")  # nothing new in between
    assert not stopping.done()
    peer.answer(unbind)
    await stopping
    assert await peer.gone() == b""
    assert [outcome.status for outcome in outcomes(carrier)] == [0] * 10
    assert carrier.backlog.unsent == 20 and carrier.backlog.in_flight == 0 and carrier.ledger.uncertain == 0
    assert not [task for task in carrier._tasks if not task.done()]


async def test_clean_stop_is_no_warning(esme, smsc, caplog):
    centre = await smsc()
    carrier = esme(centre.port, binds=2)
    await all_bound(carrier)
    caplog.set_level(logging.INFO)
    await carrier.stop()
    assert caplog.records == [] and centre.totals()["session_unbound"] == 2


async def test_clean_stop_finishes_a_message_whose_first_segments_have_left(esme, scripted_smsc):
    carrier = esme(scripted_smsc.port, window=2)
    peer = await scripted_smsc.accept()
    await peer.bind()
    await all_bound(carrier)
    add(carrier, 2, "x" * 700)  # five segments each
    submits = [await peer.next("submit_sm") for _ in range(2)]
    stopping = asyncio.create_task(carrier.stop())
    await until(lambda: carrier.binds[0].link.exchange.draining, "it drains")
    for _ in range(3):
        peer.answer(submits.pop(0), message_id="1")
        submits.append(await peer.next("submit_sm"))
    for submit in submits:
        peer.answer(submit, message_id="1")
    peer.answer(await peer.next("unbind"))
    await stopping
    assert carrier.backlog.unsent == 1 and carrier.backlog.in_flight == 0 and carrier.ledger.submitted == 5


async def test_unbind_that_is_not_answered_is_not_waited_for_for_ever(esme, scripted_smsc):
    carrier = esme(scripted_smsc.port, unbind_timeout_s=0.05)
    peer = await scripted_smsc.accept()
    await peer.bind()
    await all_bound(carrier)
    await carrier.stop()
    await peer.next("unbind")
    assert await peer.gone() == b""


def tasks_of(carrier):
    """Its timers, and the loop of its bind."""
    return [*carrier._tasks, *(task for running in carrier._running.values() for task in running)]


@pytest.mark.parametrize("answers_connect", [True, False])
async def test_stop_does_not_wait_for_an_attempt_on_its_way(esme, scripted_smsc, answers_connect):
    port = scripted_smsc.port if answers_connect else 9
    carrier = esme(port, bind_timeout_s=600.0, connect_timeout_s=600.0)
    if answers_connect:
        peer = await scripted_smsc.accept()
        await peer.next("bind_transceiver")
    tasks = tasks_of(carrier)
    await carrier.stop()
    assert [task.done() for task in tasks] == [True, True]
    if answers_connect:
        assert await peer.gone() == b""


async def test_stop_during_a_pause_ends_it(esme, scripted_smsc):
    carrier = esme(scripted_smsc.port, refused_pause_s=600.0)
    await (await scripted_smsc.accept()).bind(status=0x0E)
    await until(lambda: carrier.binds[0].last_error, "the refusal is known")
    tasks = tasks_of(carrier)
    await carrier.stop()
    assert [task.done() for task in tasks] == [True, True]
