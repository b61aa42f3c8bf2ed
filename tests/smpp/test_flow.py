"""What an account's binds share: what is measured, what is applied, when to wake."""

from typing import Any

import pytest

from _fastpath.backlog import Backlog
from _fastpath.batch import Batch
from _fastpath.exchange import Exchange
from _fastpath.ledger import Ledger
from _fastpath.outbound import Form
from _fastpath.template import Template
from _fastpath.window import Window
from benchmarks import corpus
from gateway.config import CarrierSettings
from gateway.smpp import status
from gateway.smpp.flow import BindFigures, BindMeter, Flow, Meter, verdict


class Bind:
    """A flow with one exchange and its clock; answers are made up."""

    def __init__(self, messages: int = 1000, **settings: Any):
        self.now = 50.0
        self.settings = CarrierSettings(host="nowhere", **settings)
        self.backlog, self.ledger = Backlog(), Ledger(1)
        self.flow = Flow(self.settings, self.backlog, self.ledger, self.now)
        self.exchange = Exchange(
            Window(self.flow.window), self.flow.throttle, self.backlog, self.ledger, status.table()
        )  # fmt: skip
        self.exchange.may_submit = self.exchange.takes_responses = True
        self.answered = 0
        batch = Batch.of(1, list(corpus.numbers(messages)))
        batch.dress(Form(Template("hello"), source="Brand", registered_delivery=0))
        batch.commit(messages)
        self.backlog.add(batch)

    def look(self, seconds: float = 0.0) -> bool:
        """Look, and let time pass, filling whenever the flow asks to be woken; -> whether links should be asked."""
        asks = self.flow.look(self.now, [self.exchange])
        self.exchange.fill(self.now)
        end = self.now + seconds
        while (at := self.flow.wake_at(self.now, [self.exchange])) is not None and at < end:
            self.now = at
            self.exchange.fill(self.now)
        self.now = end
        return asks

    def answer(self, n: int, refused: int = 0, status: int = 0x58) -> None:
        """Answer the oldest n, the first of them with a refusal."""
        octets = corpus.responses(self.answered + 1, n, self.answered)
        for at in range(refused):
            octets = octets[: at * 27 + 8] + status.to_bytes(4, "big") + octets[at * 27 + 12 :]
        self.answered += n
        self.exchange.feed(octets, self.now)


def test_signals_are_those_of_the_last_second():
    bind = Bind(window=20)
    bind.look(0.1)
    bind.answer(20)
    for _ in range(15):
        bind.look(0.1)
    signals = bind.flow.latest
    assert (signals.sent, signals.answered, signals.binds) == (0, 0, 1) and signals.p50_s is None
    assert signals.span_s == pytest.approx(1.0) and signals.window_full == 1.0 and signals.is_full
    bind.answer(20, refused=5)
    bind.look(0.1)
    bind.look(0.1)
    signals = bind.flow.latest
    assert (signals.answered, signals.ok, signals.throttled) == (20, 15, 5)
    assert signals.p99_s == pytest.approx(1.5, rel=0.0625)


def test_looks_that_come_too_often_are_one():
    bind = Bind()
    for _ in range(10):
        bind.look(0.001)
    assert bind.flow.latest is None


def test_response_times_that_only_a_report_tells_of_are_copied_twice_a_second():
    ledger = Ledger(1)
    seldom, always = Meter(ledger, 0.5), Meter(ledger)
    for turn in range(40):
        seldom.look(turn * 0.05, [])
        always.look(turn * 0.05, [])
    copies = {id(look.response_times) for look in seldom._looks}
    assert 3 <= len(copies) <= 4 and len({id(look.response_times) for look in always._looks}) >= 20


def test_times_of_an_account_without_a_limit_are_of_the_last_second_and_a_half():
    bind = Bind(messages=10_000, window=20)
    for turn in range(100):
        bind.look(0.05)
        bind.answer(bind.exchange.window.in_flight)
        if turn > 30:
            assert bind.flow.latest.p50_s == pytest.approx(0.05, rel=0.07)
    for _ in range(32):
        bind.look(0.05)
    assert bind.flow.latest.p50_s is None


def test_figures_of_a_bind_are_those_of_its_last_whole_second():
    bind, meter = Bind(window=20), BindMeter()
    meter.look(bind.now, bind.exchange)
    assert meter.figures == BindFigures()
    for _ in range(21):
        bind.look(0.05)
        bind.answer(10, refused=1)
        meter.look(bind.now, bind.exchange)
    figures = meter.figures
    # The window of 20 is filled once, then ten at each of 20 looks.
    assert figures.sent_per_s == pytest.approx(210, rel=0.01) and figures.throttled_share == pytest.approx(0.1)
    # Ten at a time wait for two looks.
    assert figures.p50_ms == pytest.approx(100, rel=0.07) and figures.p99_ms == pytest.approx(100, rel=0.07)
    # The first look was before anything had been tried.
    assert figures.bound_by == {"queue": pytest.approx(1 / 22), "window": pytest.approx(21 / 22)}
    for _ in range(21):
        bind.now += 0.05
        meter.look(bind.now, bind.exchange)
    assert (meter.figures.sent_per_s, meter.figures.p50_ms, meter.figures.throttled_share) == (0.0, None, 0.0)


def test_figures_of_a_bind_end_with_its_session():
    bind, meter = Bind(window=20), BindMeter()
    meter.look(bind.now, bind.exchange)
    bind.look(1.1)
    meter.look(bind.now, bind.exchange)
    assert meter.figures.sent_per_s > 0
    meter.look(bind.now, Bind().exchange)
    assert meter.figures == BindFigures()
    bind.look(1.1)
    meter.look(bind.now, bind.exchange)
    meter.look(bind.now + 1.0, bind.exchange)
    assert meter.figures.bound_by
    meter.look(bind.now, None)
    assert meter.figures == BindFigures()


def test_even_pacing_is_woken_for_each_pdu_and_a_bucket_for_several():
    for pacing, sooner_s in (("gap", 0.0002), ("bucket", 0.001)):
        bind = Bind(tps=5000, adaptive=False, pacing=pacing, window=500)
        bind.now += 10.0
        while bind.exchange.fill(bind.now):
            pass
        assert bind.flow.wake_at(bind.now, [bind.exchange]) - bind.now == pytest.approx(sooner_s, abs=1e-6)


def test_account_without_a_limit_is_never_paced():
    bind = Bind()
    assert bind.flow.pace is None and bind.flow.rate_per_s == 0 and bind.flow.window == 10
    bind.exchange.fill(bind.now)
    assert bind.flow.wake_at(bind.now, [bind.exchange]) is None


@pytest.mark.parametrize(
    ("settings", "adaptive"),
    [({}, False), ({"tps": 100}, True), ({"tps": 100, "adaptive": False}, False), ({"adaptive": True}, True)],
)
def test_account_with_a_limit_is_adaptive_unless_it_says_otherwise(settings, adaptive):
    assert (Bind(**settings).flow.pace is not None) == adaptive


def test_limit_that_was_changed_holds_at_once_on_throttle_and_windows():
    bind = Bind(tps=1000, adaptive=False, window=10)
    bind.flow.change(50, 30, bind.now, [bind.exchange])
    assert bind.exchange.window.size == 30 and bind.flow.window == 30
    bind.flow.throttle.allowance(bind.now - 60)
    assert bind.flow.throttle.allowance(bind.now) <= 3
    with pytest.raises(ValueError, match="throttle: expected 0 to 10000000"):
        bind.flow.change(-1, 30, bind.now, [bind.exchange])


def test_gap_pacing_never_lets_two_leave_closer_than_the_gap():
    bind = Bind(tps=100, adaptive=False, pacing="gap", window=500)
    left = []
    bind.now += 10.0
    while len(left) < 50:
        n = bind.exchange.fill(bind.now)
        left += [bind.now] * n
        bind.now = bind.flow.wake_at(bind.now, [bind.exchange])
    assert min(later - earlier for earlier, later in zip(left, left[1:], strict=False)) >= 0.01 - 1e-9


def refused(silence: bool) -> Bind:
    """An account at full rate whose carrier begins to refuse a third."""
    bind = Bind(
        messages=10_000, tps=200, adaptive_start=1.0, window=400, throttle_hold_s=5.0, throttle_silence=silence,
        throttle_pause_s=0.01,
    )  # fmt: skip
    for turn in range(200):
        bind.look(0.05)
        in_flight = bind.exchange.window.in_flight
        bind.answer(in_flight, refused=in_flight // 3 if turn > 60 else 0)
        if bind.flow.pace.last_cut is not None:
            return bind
    raise AssertionError("it was never cut")


def test_cut_holds_refused_segments_back_and_lowers_the_throttle():
    bind = refused(silence=False)
    assert bind.backlog.again_at() >= bind.flow.pace.last_cut.at + 5.0
    assert bind.flow.rate_per_s < 160
    # What left before the cut still counts in its second.
    bind.now += 1.2
    assert bind.exchange.fill(bind.now) > 0


def test_nothing_at_all_leaves_while_a_carrier_demands_silence():
    bind = refused(silence=True)
    until = bind.flow.pace.last_cut.at + 5.0
    submitted = bind.ledger.submitted
    while bind.now < until - 0.1:
        bind.look(0.05)
        bind.answer(bind.exchange.window.in_flight)
    assert bind.ledger.submitted == submitted
    while bind.now < until + 0.5:
        bind.look(0.05)
    assert bind.ledger.submitted > submitted


def full_queues(refused: int) -> Bind:
    """An account at full rate; so many recipients' queues are full, at each look of three seconds."""
    bind = Bind(messages=10_000, tps=200, adaptive_start=1.0, window=400)
    for turn in range(160):
        bind.look(0.05)
        n = bind.exchange.window.in_flight
        bind.answer(n, refused=min(n, refused) if turn > 100 else 0, status=0x14)
    return bind


def test_rule_5_queue_of_one_recipient_is_its_own_trouble():
    bind = Bind(messages=10_000, tps=200, adaptive_start=1.0, window=400)
    for turn in range(160):
        bind.look(0.05)
        n = bind.exchange.window.in_flight
        bind.answer(n, refused=1 if turn in (110, 140) else 0, status=0x14)
    assert bind.ledger.queue_full == 2 and bind.ledger.throttled == 0
    assert bind.flow.pace.last_cut is None and bind.flow.rate_per_s == 200


def test_rule_5_queues_of_many_recipients_are_a_throttle():
    bind = full_queues(refused=4)
    assert bind.ledger.throttled > 0 and bind.flow.pace.last_cut is not None and bind.flow.rate_per_s < 170


def test_rule_1_congestion_state_and_temporary_errors_reach_the_pace_from_the_ledger():
    bind = Bind(messages=10_000, tps=200, adaptive_start=1.0, window=400)
    for turn in range(60):
        bind.look(0.05)
        n = bind.exchange.window.in_flight
        bind.answer(n, refused=min(n, 3) if turn == 55 else 0, status=0x45)
    bind.ledger.congestion = 100
    bind.look(0.05)
    assert bind.flow.latest.temporary == 3 and bind.flow.latest.congestion == 100
    assert "congestion_state 100" in bind.flow.pace.last_cut.cause
    for _ in range(30):
        bind.look(0.05)
    assert bind.flow.latest.answered == 0 and bind.flow.latest.congestion is None


def test_timeouts_ask_for_a_sign_of_life_and_halve_the_window():
    bind = Bind(tps=100, window=40, window_floor=40)
    bind.look(0.05)
    bind.look(0.05)
    bind.flow.lost(3)
    assert bind.look() and bind.exchange.window.size == 20
    bind.now += 0.05
    assert not bind.look()


def test_account_whose_binds_were_all_gone_begins_with_a_slow_start():
    bind = Bind(messages=10_000, tps=100, window=40)
    for _ in range(400):
        bind.look(0.05)
        bind.answer(bind.exchange.window.in_flight)
    assert bind.flow.rate_per_s == 100
    bind.flow.look(bind.now, [])
    bind.look()
    assert bind.flow.rate_per_s == 20


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"is_up": False}, "carrier-bound: no bind"),
        ({"is_soft": True}, "carrier-bound: it delays"),
        ({"throttled_share": 0.12}, "carrier-bound: 12.0% of the answers say throttled; lower tps"),
        ({"throttled_share": 0.12, "is_adaptive": True}, "carrier-bound: 12.0% of the answers say throttled; the rate"),
        ({"bound_by": {"window": 0.7, "rate": 0.3}}, "window-bound"),
        ({"bound_by": {"window": 0.3, "rate": 0.7}}, "rate-bound"),
        ({"bound_by": {"intent": 1.0}}, "queue-bound: waits for Postgres"),
        ({"bound_by": {"carrier": 1.0}}, "carrier-bound: the SMSC reads"),
        ({"bound_by": {"queue": 1.0}, "has_queue": True}, "queue-bound"),
        ({}, "idle"),
    ],
)
def test_verdict_says_what_bounds_an_account(given, said):
    assert verdict(**{"is_up": True, "has_queue": False, "bound_by": {}, "throttled_share": 0.0, **given}).startswith(
        said
    )


def test_report_tells_rate_limit_response_times_and_reasons():
    bind = Bind(messages=10_000, tps=100, window=40)
    for _ in range(100):
        bind.look(0.05)
        bind.answer(bind.exchange.window.in_flight)
    report = bind.flow.report(bind.now, True, True)
    assert report.limit_per_s == 100 and report.sent_per_s == pytest.approx(report.rate_per_s, rel=0.4)
    assert report.p50_ms is not None and report.verdict.startswith("rate-bound") and len(report.reasons) >= 2
