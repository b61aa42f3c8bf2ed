"""Worlds from seeds: the invariants hold in each, and a seed is a world, exactly.

More of them: ./dev simulate --seeds 1000 (docs/simulation.md).
"""

from collections import Counter
from typing import Any

import asyncpg
import pytest

from gateway.dispatch.admission import Admission
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.membership import Watch
from gateway.dispatch.stops import Feed
from gateway.message import MessageClass, Policy
from tests.simulation import run, world
from tests.simulation.checks import Checks
from tests.simulation.loop import BEGIN
from tests.simulation.postgres import Request, Session, SimPostgres
from tests.simulation.world import Event

SEEDS = range(30)
MESSAGES = 600


@pytest.mark.parametrize("seed", SEEDS)
def test_every_invariant_holds_in_the_world_of_a_seed(seed: int) -> None:
    result = world.run_seed(seed, messages=MESSAGES)
    assert not result.violations, "\n".join(result.violations)
    # All of it may have been cancelled before anything left.
    assert result.submits or result.reached["cancelled"]


def test_a_worker_that_is_asked_to_end_while_postgres_is_away_puts_nothing_in_doubt() -> None:
    """Postgres restarts within 1.7 s, and the worker ends in the middle of that."""
    result = world.run_seed(184)
    assert not result.violations, "\n".join(result.violations)
    assert result.reached["store_lost"] and not result.reached["doubt_written"]


def test_a_worker_that_is_fenced_while_it_ends_has_heard_of_it() -> None:
    """Postgres is away while it ends; when it is there again another has taken the worker for dead."""
    result = world.run_seed(50081)
    assert not result.violations, "\n".join(result.violations)


def test_what_a_carrier_has_not_delivered_may_be_sent_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """One part refused, the other taken and said to be undelivered: the message has failed, and goes another way."""

    def run() -> world.Result:
        plan = world.plan_of(30142)
        plan.cancels = []
        return world.World(plan).run()

    result = run()
    assert not result.violations and result.reached["moved"], "\n".join(result.violations)
    monkeypatch.setattr(Checks, "_keep_rerouted", lambda self, undelivered, numbers_of: undelivered.clear())
    assert any(": A3: " in one for one in run().violations)


def test_the_same_seed_twice_is_the_same_world_to_the_octet() -> None:
    first, again = world.run_seed(16, messages=MESSAGES), world.run_seed(16, messages=MESSAGES)
    assert first == again
    assert first.trace != world.run_seed(17, messages=MESSAGES).trace


def test_without_its_faults_a_world_is_another_and_replays_with_them() -> None:
    events = world.plan_of(20, messages=MESSAGES).events
    assert events
    whole = world.run_seed(20, messages=MESSAGES)
    assert whole == world.run_seed(20, messages=MESSAGES, events=events)
    assert whole.trace != world.run_seed(20, messages=MESSAGES, events=[]).trace


def test_a_list_of_events_is_made_as_short_as_it_still_fails() -> None:
    events = [Event(float(place), "kill", (place, 1.0)) for place in range(13)]

    def fails(left: list[Event]) -> bool:
        places = {event.at_s for event in left}
        return {3.0, 9.0} <= places

    assert [event.at_s for event in run.shrink(events, fails)] == [3.0, 9.0]
    assert run.shrink(events, lambda left: True) == []


def test_a_watermark_that_is_not_committed_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.Store, "sent_upto", lambda self, lane, chunk_id: 0)
    result = world.run_seed(3, messages=50)
    assert any(": A2: " in one for one in result.violations)


def test_a_carrier_that_forgets_what_it_took_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(self: world.Lines, octets: bytes, *, must_last: bool = True) -> None:
        self.octets += b"".join(line for line in octets.splitlines(keepends=True) if not line.startswith(b"S,"))

    monkeypatch.setattr(world.Lines, "write", write)
    result = world.run_seed(3, messages=50)
    assert any(": A4: " in one for one in result.violations)


def test_a_limit_that_is_passed_is_found_out() -> None:
    plan = world.plan_of(3, messages=50)
    made = world.World(plan)
    for carrier in plan.carriers:
        carrier.tps, carrier.window = 1, 0
    result = made.run()
    assert {": T1: ", ": T2: "} <= {kind for kind in (": T1: ", ": T2: ") for one in result.violations if kind in one}


def test_what_was_never_met_is_told_after_enough_worlds() -> None:
    met = run.Counter({"throttled": 3})
    assert run.never_met(met, run.ENOUGH - 1) == []
    told = run.never_met(met, run.ENOUGH)
    assert len(told) == len(run.SITUATIONS) - 1
    assert not any("throttled" in line for line in told)


MISHAPS = ("lost on its way there", "lost on its way back", "refused by the server")


@pytest.mark.slow
@pytest.mark.parametrize("mishap", MISHAPS)
def test_every_statement_that_fails_is_got_over(mishap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 20: each statement of a worker fails the second and the seventh time, in the middle of the work of others.

    What follows a failure, a new connection or a rollback, fails like anything else.
    """
    send, reply = SimPostgres.send, SimPostgres.reply
    begun: Counter[str] = Counter()
    hit: set[str] = set()

    def is_hit(session: Session, request: Request) -> bool:
        if not session.connection.client:  # ours, not a worker's
            return False
        begun[request.name] += 1
        if begun[request.name] not in (2, 7):
            return False
        hit.add(request.name)
        return True

    def sent(server: SimPostgres, session: Session, request: Request) -> None:
        if mishap != MISHAPS[1] and not (mishap == MISHAPS[2] and request.steers) and is_hit(session, request):
            if mishap == MISHAPS[0]:
                server._after_travel(server._break, session)
                return
            request.run = refuse
        send(server, session, request)

    def refuse(session: Session) -> None:
        raise asyncpg.SerializationError("could not serialize access")

    def replied(server: SimPostgres, session: Session, request: Request, result: Any, error: Exception | None) -> None:
        if mishap == MISHAPS[1] and is_hit(session, request):
            if server.watch is not None and error is None:
                server.watch("lost", (request.name,), result)
            server._after_travel(server._break, session)
            return
        reply(server, session, request, result, error)

    monkeypatch.setattr(SimPostgres, "send", sent)
    monkeypatch.setattr(SimPostgres, "reply", replied)
    for seed in (7, 8, 9):
        begun.clear()
        plan = together(seed, [Event(2.0, "kill", (0, 3.0)), Event(9.0, "roll", (0.5,))])
        plan.stops = [world.StopPlan(place / 2, 1, place % 2 == 0) for place in range(20)]
        result = world.World(plan).run()
        assert not result.violations, "\n".join(result.violations)
    assert len(hit) >= 60 and {"claim", "advance", "COPY outcome", "beat", "enter_stops"} <= hit, hit


# -- many workers, and STOPs ------------------------------------------------------------------------------------------


def kinds_of(result: world.Result) -> set[str]:
    """Which invariants were broken."""
    return {one.split(": ", 2)[1] for one in result.violations}


def together(seed: int, events: list[Event], **more: Any) -> world.Plan:
    """Plan two workers on two machines that share one carrier, with nothing wrong but the events."""
    plan = world.plan_of(seed, messages=600, **more)
    plan.workers, plan.clocks = [0, 1], [(0.0, 0.0), (1000.0, 1e-4)]
    carrier = plan.carriers[0]
    carrier.tps, carrier.binds, carrier.window = 100, 2, 10
    carrier.personality = {"responses": {"delay_ms": 2, "jitter_ms": 5}, "receipts": {"delay_ms": 5}}
    carrier.settings["adaptive"] = False
    plan.carriers = [carrier]
    numbers = list(range(world.FIRST_NUMBER, world.FIRST_NUMBER + 600))
    plan.runs = [
        world.RunPlan(
            policy=Policy.ONCE, class_=MessageClass.BULK, text="Hello", at_s=0.0, parts=1,
            chunks=[(0, numbers[at : at + 50]) for at in range(0, 600, 50)],
        )
    ]  # fmt: skip
    plan.worker["lease_s"] = 2.0
    plan.deadline_s = 1.0
    plan.store_latency_s = (0.0002, 0.003)
    plan.events, plan.heal_s = events, 20.0
    return plan


def test_workers_share_an_account_and_a_dead_ones_part_is_taken_over_within_ten_seconds() -> None:
    result = world.World(together(7, [Event(2.0, "kill", (0, 15.0))])).run()
    assert not result.violations, "\n".join(result.violations)
    assert {"taken_over", "slot_moved", "share_lowered"} <= result.reached.keys()


def test_worker_that_slept_longer_than_its_lease_is_fenced_and_sends_nothing_when_it_wakes() -> None:
    result = world.World(together(7, [Event(2.0, "freeze", (0, 8.0))])).run()
    assert not result.violations, "\n".join(result.violations)
    assert result.reached["worker_fenced"] == 1 and result.reached["worker_frozen"] == 1


def test_roll_of_all_workers_puts_nothing_in_doubt() -> None:
    made = world.World(together(7, [Event(2.0, "roll", (0.5,))]))
    assert made.is_gentle()
    result = made.run()
    assert not result.violations, "\n".join(result.violations)
    assert result.reached["rolled"] == 1 and result.reached["worker_drained"] >= 2
    assert not result.reached["doubt_written"]


def test_stops_at_every_point_of_the_pipeline_are_obeyed() -> None:
    """In virtual time, case 14 of the write protocol."""
    plan = together(7, [])
    plan.stops = [world.StopPlan(place / 20, 1, place % 5 == 0) for place in range(100)]
    result = world.World(plan).run()
    assert not result.violations, "\n".join(result.violations)
    assert result.stops > 50
    assert {"suppressed", "stop_by_handset", "stop_queued"} <= result.reached.keys()


def test_stop_that_is_not_obeyed_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Feed, "suppressed", lambda self, class_, sender: ())
    plan = together(7, [])
    plan.stops = [world.StopPlan(0.5, 50, False)]
    assert kinds_of(world.World(plan).run()) == {"S1"}


def test_message_that_is_held_back_for_a_stop_of_nobody_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = together(7, [])
    plan.stops = [world.StopPlan(0.5, 50, False)]
    monkeypatch.setattr(Checks, "stop_committed", lambda self, number, store: False)
    assert "S1" in kinds_of(world.World(plan).run())


def test_worker_that_writes_after_it_was_fenced_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.Store, "is_registered", lambda self, instance: False)
    assert "F1" in kinds_of(world.World(together(7, [])).run())


def test_dead_worker_that_nobody_replaces_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "look", lambda self, workers, asked_at, read_at: [])
    result = world.World(together(7, [Event(2.0, "kill", (0, 15.0))])).run()
    assert "L2" in kinds_of(result)


# -- worlds with a gate -----------------------------------------------------------------------------------------------


def test_a_gate_that_asks_nobody_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def admit(self: Admission, asked: Any, aside: Any) -> list[dict[Any, Any]]:
        return [{} for _ in asked]

    monkeypatch.setattr(Admission, "admit", admit)
    kinds: set[str] = set()
    for seed in (60, 110, 370):
        kinds |= kinds_of(world.run_seed(seed, messages=300))
    assert {"G1", "G2", "G3", "G4"} <= kinds


def test_a_clock_that_jumps_an_hour_puts_nobody_off_for_an_hour_QH_1() -> None:
    """Fault 82: for a minute of the jumped clock's day the window is closed, an hour before that minute comes."""
    plan = world.plan_of(110, messages=300)
    assert plan.gate is not None and "10:01-19:00" in plan.gate.gate.windows["campaign"]["daily"]
    plan.gate.begin, plan.gate.open_s = BEGIN, [(0.0, 3600.0)]
    plan.events = [Event(0.5, "wall", (place, 3600.0)) for place in range(len(plan.workers))]
    result = world.World(plan).run()
    assert not result.violations, "\n".join(result.violations)
    assert result.virtual_s < 200 and result.reached["put_off"]


def test_what_a_window_holds_back_leaves_when_it_opens_again_QH_5() -> None:
    result = world.run_seed(180, messages=300)
    assert not result.violations, "\n".join(result.violations)
    assert result.reached["put_off"] and result.submits and result.virtual_s > 60


# -- cancelled runs ---------------------------------------------------------------------------------------------------


def cancelled(seed: int, at_s: float, events: list[Event]) -> world.Plan:
    """Plan two workers that share one carrier, and a run that is cancelled in the middle."""
    plan = together(seed, events)
    plan.cancels = [world.CancelPlan(at_s, 0)]
    return plan


@pytest.mark.parametrize("at_s", [0.0, 0.3, 1.7, 3.1])
def test_case_26_of_the_write_protocol_nothing_of_a_cancelled_run_begins_after_the_acknowledgement(at_s: float) -> None:
    """Case 26 of the write protocol."""
    result = world.World(cancelled(7, at_s, [])).run()
    assert not result.violations, "\n".join(result.violations)
    assert result.reached["cancelled"] or result.reached["cancel_refused"]


@pytest.mark.parametrize("seed", [7, 11, 12])
def test_case_26_a_cancel_outlives_the_end_of_who_obeys_it(seed: int) -> None:
    """Fault 87: a worker is killed and another frozen longer than its lease about the moment of the cancel."""
    events = [Event(1.0, "kill", (0, 2.0)), Event(1.2, "freeze", (1, 8.0)), Event(6.0, "store_restart", (1.0,))]
    result = world.World(cancelled(seed, 1.3, events)).run()
    assert not result.violations, "\n".join(result.violations)
    assert result.reached["cancelled"]


def test_cancel_that_is_not_obeyed_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dispatcher, "cancel", lambda self, runs: None)
    assert "C1" in kinds_of(world.World(cancelled(7, 1.0, [])).run())
