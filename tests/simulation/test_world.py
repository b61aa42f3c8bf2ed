"""Worlds from seeds: the invariants hold in each, and a seed is a world, exactly.

More of them: ./dev simulate --seeds 1000 (docs/simulation.md).
"""

import pytest

from tests.simulation import run, world
from tests.simulation.world import Event

SEEDS = range(30)
MESSAGES = 600


@pytest.mark.parametrize("seed", SEEDS)
def test_every_invariant_holds_in_the_world_of_a_seed(seed: int) -> None:
    result = world.run_seed(seed, messages=MESSAGES)
    assert not result.violations, "\n".join(result.violations)
    assert result.submits


def test_the_same_seed_twice_is_the_same_world_to_the_octet() -> None:
    first, again = world.run_seed(16, messages=MESSAGES), world.run_seed(16, messages=MESSAGES)
    assert first == again
    assert first.trace != world.run_seed(17, messages=MESSAGES).trace


def test_without_its_faults_a_world_is_another_and_replays_with_them() -> None:
    events = world.plan_of(19, messages=MESSAGES).events
    assert events
    whole = world.run_seed(19, messages=MESSAGES)
    assert whole == world.run_seed(19, messages=MESSAGES, events=events)
    assert whole.trace != world.run_seed(19, messages=MESSAGES, events=[]).trace


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
