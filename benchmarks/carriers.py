"""Carriers as they are: what an account reaches whose limit nobody told it, or whose answers come late.

    python -m benchmarks.carriers [CASE …] [--quick]

    hidden      a limit L that is not known, enforced in four ways, at three distances, L 100 → 40 → 100, a third of the
                messages in three parts: virtual time
    known       a limit that is known, four binds, one dies and comes back: virtual time
    chance      a share of answers says throttled whatever the rate is, with and without a limit: virtual time
    far         500 a second, while the way to the SMSC grows from 10 to 200 ms: virtual time
    late        1000 a second through a window of 100, to an SMSC that answers after 20 ms: sockets
    receipts-early   2000 a second, receipts 5 ms before their responses: sockets, Postgres (benchmarks/receipts.py)
    receipt-forms    every published form of a receipt, mixed: likewise
    gaps        even pacing of 100 and 500 a second by the timers of this machine (live.py): sockets

    hidden-live a limit of 200 that is not known, 20 ms away: the whole gateway (live.py)
    known-live  four binds on 100 a second, one is cut: the whole gateway, by the simulator's own ledger (live.py)
    codes       a code behind a million bulk messages at 100 a second: the whole gateway (urgent.py)

In virtual time the compiled path, the flow and the pace of production talk octets with the message centre of the
simulator; only clock and network are made up (`Course`). An hour takes seconds, and the same seed gives the same run.
Others add their cases to CASES. Prints one result as the last line.
"""

import argparse
import asyncio
import heapq
import json
import math
import random
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from _fastpath.backlog import Backlog
from _fastpath.batch import Batch
from _fastpath.centre import Centre
from _fastpath.exchange import Exchange
from _fastpath.ledger import Ledger
from _fastpath.outbound import Form
from _fastpath.template import Template
from _fastpath.window import Window
from benchmarks import figures, live, machine, receipts, urgent
from gateway import app
from gateway.config import CarrierSettings
from gateway.simulator import behaviour
from gateway.simulator.smsc import Smsc
from gateway.smpp import status
from gateway.smpp.carrier import Carrier
from gateway.smpp.flow import LOOK_S, Flow

Figures = list[dict[str, Any]]
Case = Callable[[bool], tuple[Figures, dict[str, Any]]]

FIRST_NUMBER = 447_700_900_000
CHUNK = 100
SHORT = "Your parcel is on its way"
LONG = "word " * 80
# Timers come late by up to a millisecond, where there are no finer ones than the event loop's.
TIMER_S = 0.001
# Even pacing has the kernel's (smpp/wake.py).
TIMER_GAP_S = 0.0001
MODELS = ("second", "sliding", "gap", "slow")
STEADY_S = 15.0
RTHROTTLED = 0x58


class Course:
    """One account and one message centre in virtual time.

    rtt_ms     there and back; half of it is the way there
    model, tps how the centre limits, and to what; `at` changes either later
    errors     (command_status, share): refusals that have nothing to do with the rate
    """

    def __init__(
        self, settings: CarrierSettings, *, model: str, tps: int, rtt_ms: float, gap_slack: float = 0.1,
        errors: Sequence[tuple[int, float]] = (), seed: int = 1,
    ):  # fmt: skip
        self.now = 1000.0
        self.rtt_s = rtt_ms / 1e3
        self.settings = settings
        self.is_fed = True
        self.segments = 0
        self.backlog = Backlog()
        self.ledger = Ledger(1, 1 << 18)
        self.flow = Flow(settings, self.backlog, self.ledger, self.now)
        self.centre = Centre(
            self._ns(), seed=seed, accounts=(("test", tps, 0),), limit=model, receipts="never", gap_slack=gap_slack,
            errors=errors,
        )  # fmt: skip
        self._slack = gap_slack
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._wake_at: float | None = None
        self._answers_at = math.inf
        self._chunks = 0
        self._texts = [Form(Template(text), source="Brand", registered_delivery=0) for text in (SHORT, LONG)]
        self.exchanges: list[Exchange] = []
        self._links: list[int] = []
        self._fifo: dict[tuple[int, bool], float] = {}
        # (moment, sent, accepted, throttled) at every look
        self.history: list[tuple[float, int, int, int]] = []
        self.sent_at: list[float] = []
        self.longest_gap_s = 0.0
        self.outcomes = 0
        self._sent_last = self.now
        for _ in range(settings.binds):
            self.open()
        self._at(self.now, self._look)

    def _ns(self) -> int:
        return int(self.now * 1e9)

    def open(self) -> None:
        """Bring one more bind up."""
        exchange = Exchange(Window(self.flow.window), self.flow.throttle, self.backlog, self.ledger, status.table())
        exchange.throttle_pause_s = self.settings.throttle_pause_s
        exchange.retry_delay_s = self.settings.retry_delay_s
        exchange.max_attempts = self.settings.max_attempts
        exchange.takes_responses = exchange.may_submit = True
        link = self.centre.open()
        self.centre.bind(link, 0, True, True, 0x34, self._ns())
        self.exchanges.append(exchange)
        self._links.append(link)

    def _at(self, at: float, call: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (at, self._number, call))

    def at(self, after_s: float, call: Callable[[], None]) -> None:
        """Let something happen so long after the start."""
        self._at(1000.0 + after_s, call)

    def limit(self, tps: int) -> None:
        """Give the account another limit at the centre."""
        self.centre.set_tps(0, tps, self._slack)

    def _feed_backlog(self) -> None:
        while self.is_fed and self.backlog.unsent < 2 * CHUNK:
            self._chunks += 1
            # Every third chunk is of three parts: a third of the messages, and three fifths of the PDUs.
            batch = Batch.of(self._chunks, [FIRST_NUMBER + self._chunks * CHUNK + i for i in range(CHUNK)])
            batch.dress(self._texts[self._chunks % 3 == 0])
            self.segments += CHUNK * (3 if self._chunks % 3 == 0 else 1)
            batch.commit(CHUNK)
            self.backlog.add(batch)

    def _look(self) -> None:
        """What the carrier does at a tick."""
        self._feed_backlog()
        for exchange in self.exchanges:
            self.flow.lost(exchange.expire(self.now - self.settings.response_timeout_s, self.now))
        self.flow.look(self.now, self.exchanges)
        self._pump()
        self.outcomes += self.ledger.outcomes.count
        self.ledger.outcomes.take()
        self.backlog.take_finished()
        ledger = self.ledger
        self.history.append((self.now, ledger.submitted, ledger.accepted, ledger.throttled))
        self._at(self.now + LOOK_S, self._look)

    def _pump(self) -> None:
        before = self.ledger.submitted
        for exchange, link in zip(self.exchanges, self._links, strict=True):
            exchange.fill(self.now)
            if exchange.out_waiting:
                self._carry(exchange.take_output(), link, True)
        written = self.ledger.submitted - before
        if written:
            self.longest_gap_s = max(self.longest_gap_s, self.now - self._sent_last)
            self._sent_last = self.now
            self.sent_at += [self.now] * written
        at = self.flow.wake_at(self.now, self.exchanges)
        if at is not None and (self._wake_at is None or at < self._wake_at):
            # A loop's timer fires at the next whole millisecond.
            timer_s = TIMER_GAP_S if self.flow.has_gap else TIMER_S
            at = -(-at // timer_s) * timer_s
            self._wake_at = at
            self._at(at, lambda: self._woken(at))

    def _woken(self, at: float) -> None:
        if self._wake_at == at:
            self._wake_at = None
            self._pump()

    def _carry(self, octets: bytes, link: int, is_up: bool) -> None:
        """Bring octets to the other side, never before those that left earlier."""
        at = max(self.now + self.rtt_s / 2, self._fifo.get((link, is_up), 0.0))
        self._fifo[link, is_up] = at
        self._at(at, (lambda: self._arrive(octets, link)) if is_up else (lambda: self._hear(octets, link)))

    def _arrive(self, octets: bytes, link: int) -> None:
        at = 0
        while at < len(octets) and link in self._links:
            at += self.centre.turn(link, octets, at, len(octets), self._ns())
        self._answer()

    def _answer(self) -> None:
        self.centre.advance(self._ns())
        for link in self.centre.dirty():
            view = self.centre.pending(link)
            if view is not None:
                octets = bytes(view)
                view.release()
                self.centre.handed(link, len(octets), self._ns())
                self._carry(octets, link, False)
        due = self.centre.next_due()
        if due >= 0:
            at = max(due / 1e9, self.now + 1e-4)
            if at < self._answers_at:
                self._answers_at = at
                self._at(at, lambda: self._due(at))

    def _due(self, at: float) -> None:
        if self._answers_at == at:
            self._answers_at = math.inf
            self._answer()

    def _hear(self, octets: bytes, link: int) -> None:
        if link not in self._links:
            return
        exchange = self.exchanges[self._links.index(link)]
        exchange.feed(octets, self.now)
        self._pump()

    def run(self, until_s: float) -> None:
        """Let time pass up to so many seconds after the start."""
        end = 1000.0 + until_s
        while self._events and self._events[0][0] <= end:
            at, _, call = heapq.heappop(self._events)
            self.now = max(self.now, at)
            call()
        self.now = end

    def end(self) -> tuple[int, int]:
        """Let everything that was queued leave and be answered; -> segments never accepted, accepted more than once."""
        self.is_fed = False
        until_s = self.now - 1000.0
        while not self.backlog.is_empty and until_s < 1e5:
            until_s += 1.0
            self.run(until_s)
        accepted = self.centre.totals()["accepted"]
        return max(0, self.segments - self.ledger.accepted), max(0, accepted - self.segments)

    def cut(self, number: int) -> None:
        """Let a bind die: what was unanswered is in doubt."""
        self.exchanges[number].lose(self.now)
        self.centre.close(self._links[number], self._ns())
        del self.exchanges[number], self._links[number]

    # -- what came of it --------------------------------------------------------------------------------------------

    def between(self, from_s: float, to_s: float) -> tuple[float, float, float]:
        """Accepted a second, throttled share of the answers, sent a second, between two moments after the start."""
        looks = [look for look in self.history if from_s <= look[0] - 1000.0 <= to_s]
        first, last = looks[0], looks[-1]
        span = last[0] - first[0]
        accepted, throttled = last[2] - first[2], last[3] - first[3]
        return accepted / span, throttled / max(1, accepted + throttled), (last[1] - first[1]) / span

    def recovered_s(self, from_s: float, limit: int) -> float:
        """Seconds after a step until five seconds begin that hold 95 % of the limit with 1 % throttled at most."""
        at = from_s
        while at < self.now - 1005.0:
            accepted, throttled, _ = self.between(at, at + 5.0)
            if accepted >= 0.95 * limit and throttled <= 0.01:
                return at - from_s
            at += LOOK_S
        return float("inf")


def hidden_limit(model: str, rtt_ms: float, quick: bool = False) -> dict[str, Any]:
    """L 100 → 40 → 100 on one account that is told 200; -> what came of it."""
    span = 90.0 if quick else 300.0
    settings = CarrierSettings(host="nowhere", tps=200, window=100, binds=2)
    course = Course(settings, model=model, tps=100, rtt_ms=rtt_ms)
    course.at(span, lambda: course.limit(40))
    course.at(2 * span, lambda: course.limit(100))
    course.run(3 * span)
    # Up again it may take 90 s until the next probe has gone all the way.
    up_s = course.recovered_s(2 * span, 100)
    steady = [
        (40.0, span, 100), (span + STEADY_S, 2 * span, 40), (2 * span + min(90.0, up_s + 10.0), 3 * span, 100),
    ]  # fmt: skip
    found = [course.between(start, end) + (limit,) for start, end, limit in steady if start < end]
    longest_gap_s = course.longest_gap_s
    whole = course.between(0.0, 3 * span)[1]
    ledger = course.ledger
    lost, twice = course.end()
    return {
        "model": model,
        "rtt_ms": rtt_ms,
        "first_s": course.recovered_s(0.0, 100),
        "steady": [accepted / limit for accepted, _, _, limit in found],
        "throttled_steady": max(throttled for _, throttled, _, _ in found),
        "throttled_whole": whole,
        "down_s": course.recovered_s(span, 40),
        "up_s": up_s,
        "longest_gap_s": longest_gap_s,
        "lost": lost,
        "sent_twice": twice,
        "uncertain": ledger.uncertain,
        "accepted": ledger.accepted,
        "pacing": course.flow.pace.pacing if course.flow.pace else "",
        "reasons": list(course.flow.pace.reasons(course.now)) if course.flow.pace else [],
    }


def by_chance(tps: int, share: float, seed: int, model: str = "none", limit: int = 0) -> dict[str, Any]:
    """Refuse a share for speed at any rate; with a limit it is halved after 120 s and lifted after 240.

    ->  shares of what could be sent and refused shares of the answers: from the 60th second on, or of each part from
        its 40th second on; seconds until 95 % of tps are sent again behind the lifting
    """
    settings = CarrierSettings(host="nowhere", tps=tps, window=200, binds=2)
    errors = ((RTHROTTLED, share),) if share else ()
    course = Course(settings, model=model, tps=limit, rtt_ms=50.0, errors=errors, seed=seed)
    if not limit:
        course.run(180.0)
        _, _, sent = course.between(60.0, 180.0)
        refused = course.ledger.responses - course.ledger.accepted
        return {"sent": [sent / tps], "refused": [refused / course.ledger.responses]}
    course.at(120.0, lambda: course.limit(limit // 2))
    course.at(240.0, lambda: course.limit(10 * tps))
    course.run(360.0)
    parts = [(40.0, 120.0, limit), (160.0, 240.0, limit // 2)]
    found = [course.between(start, end) + (most,) for start, end, most in parts]
    up_s = next((at for at in range(115) if course.between(240.0 + at, 245.0 + at)[2] >= 0.95 * tps), math.inf)
    return {
        "sent": [sent / most for _, _, sent, most in found],
        "refused": [throttled for _, throttled, _, _ in found],
        "up_s": up_s,
        "reasons": list(course.flow.pace.reasons(course.now)) if course.flow.pace else [],
    }


def far(quick: bool = False) -> dict[str, Any]:
    """500 a second, and after ten seconds every answer takes 200 ms instead of 10; -> window and rates."""
    settings = CarrierSettings(host="nowhere", tps=500, window=200, adaptive_start=1.0)
    course = Course(settings, model="none", tps=0, rtt_ms=10.0)
    course.run(10.0)
    near_window, near = course.flow.window, course.between(1.0, 10.0)[0]
    course.rtt_s = 0.2
    course.run(20.0 if quick else 60.0)
    return {
        "window_near": near_window,
        "window_far": course.flow.window,
        "rate_near": near,
        "rate_10_s_after": course.between(10.0, 20.0)[2],
        "rate_far": course.between(12.0, 20.0 if quick else 60.0)[0],
        "longest_gap_s": course.longest_gap_s,
    }


def known_limit(quick: bool = False) -> dict[str, Any]:
    """Four binds on 100 a second; one dies after 30 s and comes back after 60; -> use of the limit, fullest second."""
    settings = CarrierSettings(host="nowhere", tps=100, window=50, binds=4)
    course = Course(settings, model="sliding", tps=100, rtt_ms=50)
    course.at(30.0, lambda: course.cut(1))
    course.at(60.0, course.open)
    course.run(90.0)
    sent, first, fullest = course.sent_at, 0, 0
    for last, at in enumerate(sent):
        while sent[first] <= at - 1.0:
            first += 1
        fullest = max(fullest, last - first + 1)
    ledger = course.ledger
    return {
        "used": [course.between(start, start + 20.0)[2] / 100 for start in (10.0, 35.0, 65.0)],
        "fullest_second": fullest,
        "throttled": ledger.throttled,
        "uncertain": ledger.uncertain,
    }


async def _through_sockets(seconds: float, warm_s: float, delay_ms: float, settings: dict[str, Any]) -> dict[str, Any]:
    """One carrier and the simulator on one event loop; -> the rate after `warm_s`."""
    site = behaviour.Carrier(
        responses=behaviour.Responses(delay_ms=delay_ms), receipts=behaviour.Receipts(when="never")
    )
    async with Smsc(behaviour.Settings(seed=1, carrier=(site,))) as smsc:
        carrier = Carrier(
            "bench", CarrierSettings(host="127.0.0.1", port=smsc.port, system_id="test", **settings), 1,
            clock=time.monotonic, chance=random.Random(1), on_request=lambda link, pdu: None,
        )  # fmt: skip
        carrier.start()
        try:
            form = Form(Template(SHORT), source="Brand", registered_delivery=0)
            while not carrier.is_up:
                carrier.changed.clear()
                await asyncio.wait_for(carrier.changed.wait(), 10.0)
            chunks, began, from_sent = 0, time.monotonic(), 0
            from_at = began
            while (now := time.monotonic()) < began + seconds:
                while carrier.backlog.unsent < settings["tps"]:
                    chunks += 1
                    batch = Batch.of(chunks, [FIRST_NUMBER + i for i in range(1000)])
                    batch.dress(form)
                    batch.commit(1000)
                    carrier.backlog.add(batch)
                if not from_sent and now >= began + warm_s:
                    from_at, from_sent = now, carrier.ledger.accepted
                await asyncio.sleep(0.05)
            rate = (carrier.ledger.accepted - from_sent) / (time.monotonic() - from_at)
            account = carrier.account()
        finally:
            for batch in carrier.backlog.batches():
                carrier.backlog.drop(batch.chunk_id)
            await carrier.stop()
    return {
        "rate": rate, "window": account.window, "p99_ms": account.p99_ms, "verdict": account.verdict,
        "uncertain": carrier.ledger.uncertain,
    }  # fmt: skip


def _run(main: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Run on the loop of a worker."""
    with asyncio.Runner(loop_factory=app.new_loop) as runner:
        return runner.run(main)


def hidden_case(quick: bool) -> tuple[Figures, dict[str, Any]]:
    """The hidden limit in every model at every distance."""
    runs = [hidden_limit(model, rtt_ms, quick) for model in MODELS for rtt_ms in ((50,) if quick else (5, 50, 250))]
    name = "hidden limit"
    lower = {"better": figures.LOWER}
    return [
        figures.figure(f"{name}, accepted", [min(run["steady"]) for run in runs], "of L", floor=0.95),
        figures.figure(f"{name}, throttled", [run["throttled_steady"] * 100 for run in runs], "%", floor=0.5, **lower),
        figures.figure(f"{name}, down", [run["down_s"] for run in runs], "s", floor=15.0, **lower),
        figures.figure(f"{name}, up", [min(run["up_s"], 1e6) for run in runs], "s", floor=90.0, **lower),
        figures.figure(f"{name}, longest gap", [run["longest_gap_s"] for run in runs], "s", floor=2.0, **lower),
        figures.figure(f"{name}, lost", [run["lost"] for run in runs], "segments", floor=0.0, **lower),
        figures.figure(f"{name}, sent twice", [run["sent_twice"] for run in runs], "segments", floor=0.0, **lower),
    ], {"runs": runs}


def known_case(quick: bool) -> tuple[Figures, dict[str, Any]]:
    """A limit that is known, and a bind that dies."""
    run = known_limit(quick)
    return [
        figures.figure("known limit, used", run["used"], "of it", floor=0.99),
        figures.figure(
            "known limit, fullest second", [run["fullest_second"]], "PDUs", floor=100.0, better=figures.LOWER
        ),
    ], {"run": run}


def chance_case(quick: bool) -> tuple[Figures, dict[str, Any]]:
    """Refusals that do not follow the rate."""
    found, details = [], {}
    for share in (0.002, 0.01, 0.05):
        runs = [by_chance(1000, share, seed) for seed in range(1, 3 if quick else 6)]
        details[f"{share:.1%}"] = runs
        found.append(
            figures.figure(f"{share:.1%} refused by chance", [run["sent"][0] for run in runs], "of tps", floor=0.95)
        )
    for model in ("sliding", "second"):
        runs = [by_chance(1000, 0.01, seed, model, 600) for seed in range(1, 3 if quick else 6)]
        details[model] = runs
        name = f"1.0% refused by chance, limit by {model}"
        found.append(figures.figure(name, [run["sent"][0] for run in runs], "of the limit", floor=0.9))
        found.append(
            figures.figure(f"{name}, lifted", [run["up_s"] for run in runs], "s", better=figures.LOWER, floor=90.0)
        )
    return found, details


def far_case(quick: bool) -> tuple[Figures, dict[str, Any]]:
    """The way grows from 10 to 200 ms."""
    run = far(quick)
    return [
        figures.figure("10 → 200 ms, window", [run["window_far"]], "requests", floor=100.0),
        figures.figure("10 → 200 ms, rate of 500", [run["rate_far"]], "PDUs/s", floor=475.0),
    ], {"run": run}


def late_case(quick: bool) -> tuple[Figures, dict[str, Any]]:
    """1000 a second, window 100, answers after 20 ms."""
    seconds = 3.0 if quick else 10.0
    wanted = {"tps": 1000, "window": 100, "adaptive_start": 1.0}
    runs = [_run(_through_sockets(seconds, 1.0, 20.0, wanted)) for _ in range(1 if quick else 3)]
    return [figures.figure("1000/s, 20 ms", [run["rate"] for run in runs], "PDUs/s", floor=990.0)], {"runs": runs}


def gaps_case(quick: bool) -> tuple[Figures, dict[str, Any]]:
    """Even pacing by the timers of this machine, at an SMSC that refuses what comes 5 % too soon."""
    found, details = [], {}
    for tps, floor in ((100, 0.98), (500, 0.95)):
        rounds = [_run(live.even(tps, 1.0 if quick else 5.0)) for _ in range(1 if quick else 3)]
        name = f"gap pacing, {tps}/s"
        found += [
            figures.figure(name, [run["sent"] for run in rounds], "of the limit", floor=floor),
            figures.figure(
                f"{name}, refused",
                [100 * run["refused"] / (run["sent"] * tps * (1.0 if quick else 5.0)) for run in rounds],
                "%",
                better=figures.LOWER,
            ),
            figures.figure(f"{name}, CPU", [run["cpu_ms_per_1000"] for run in rounds], "ms/1000", better=figures.LOWER),
        ]
        details[str(tps)] = rounds
    return found, details


def codes_case(quick: bool) -> tuple[Figures, dict[str, Any]]:
    """One-time codes behind bulk."""
    run = _run(urgent.codes_behind_bulk(20_000 if quick else 1_000_000, 30 if quick else 300, 100))
    return [
        figures.figure("code behind bulk, p99 queue time", [run["p99_ms"]], "ms", better=figures.LOWER, floor=100.0),
        figures.figure("bulk and codes meanwhile", [run["rate"]], "PDUs/s"),
    ], {"run": run}


def hidden_live_case(quick: bool) -> tuple[Figures, dict[str, Any]]:
    """A limit that is not known, through sockets and Postgres."""
    run = _run(live.hidden(200, 30.0 if quick else 60.0))
    lower = {"better": figures.LOWER}
    return [
        figures.figure("hidden limit live, accepted", [run["accepted"]], "of L", floor=0.95),
        figures.figure("hidden limit live, throttled", [run["throttled"] * 100], "%", floor=0.5, **lower),
    ], {"run": run}


def known_live_case(quick: bool) -> tuple[Figures, dict[str, Any]]:
    """A limit that is known and a link that is cut, through sockets and Postgres."""
    run = _run(live.known(100, 20.0 if quick else 40.0))
    lower = {"better": figures.LOWER}
    return [
        figures.figure("known limit live, used", [run["used"]], "of it", floor=0.99),
        figures.figure("known limit live, fullest second", [run["fullest_second"]], "PDUs", floor=100.0, **lower),
    ], {"run": run}


CASES: dict[str, Case] = {
    "hidden": hidden_case,
    "known": known_case,
    "chance": chance_case,
    "far": far_case,
    "late": late_case,
    "gaps": gaps_case,
    "hidden-live": hidden_live_case,
    "known-live": known_live_case,
    "codes": codes_case,
    "receipts-early": receipts.early,
    "receipt-forms": receipts.forms,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="What an account reaches at carriers as they are.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"some of: {', '.join(CASES)}; all without one")
    parser.add_argument("--quick", action="store_true", help="shorter, and fewer rounds")
    options = parser.parse_args()
    unknown = [name for name in options.cases if name not in CASES]
    if unknown:
        parser.error(f"no case {unknown[0]!r}; there are: {', '.join(CASES)}")
    load = machine.load()
    found: Figures = []
    details: dict[str, Any] = {}
    for name in options.cases or CASES:
        print(f"{name} …", file=sys.stderr, flush=True)
        some, details[name] = CASES[name](options.quick)
        found += some
    print(json.dumps(figures.result("carriers", found, details, quick=options.quick, load=load)))


if __name__ == "__main__":
    main()
