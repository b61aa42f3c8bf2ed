"""Sending a window full: window, throttle and composer together as a turn uses them, and each from Python.

    pytest benchmarks/bench_window.py

Not measured: the send.
"""

from typing import Any

import pytest

from _fastpath.throttle import Throttle
from _fastpath.window import Window
from benchmarks import corpus, turn

# As many as a turn composes before the outbox counts as full, whatever their length.
MESSAGES = 200
ROUNDS = 300
by_case = pytest.mark.parametrize("case", corpus.CASES, ids=lambda case: case.name)


@by_case
@pytest.mark.parametrize("per_s", [0, 10_000_000], ids=["no_limit", "with_a_limit"])
def test_window_is_filled(benchmark: Any, case: corpus.Case, per_s: int) -> None:
    turns = turn.Turns(case, MESSAGES, per_s)
    turns.claim()

    def prepare() -> None:
        if turns.exchange.window.in_flight:
            turns.read(turns.responses())
            turns.settle()
            turns.claim()

    benchmark.extra_info["messages"] = MESSAGES
    written = benchmark.pedantic(turns.fill, setup=prepare, rounds=ROUNDS)
    assert written == MESSAGES * case.segments


@pytest.mark.parametrize("size", [10, 1000, 65536])
def test_request_is_opened_and_closed_from_python(benchmark: Any, size: int) -> None:
    window = Window(size)
    assert benchmark(lambda: window.close(window.open(1, turn.NOW))) is not None


def test_silent_window_expires(benchmark: Any) -> None:
    def prepare() -> tuple[tuple[Any, ...], dict[str, Any]]:
        window = Window(1000)
        for at in range(1000):
            window.open(at, turn.NOW)
        return (window,), {}

    benchmark.extra_info["messages"] = 1000
    expired = benchmark.pedantic(lambda window: window.expire(turn.NOW + 1), setup=prepare, rounds=ROUNDS)
    assert len(expired) == 1000


def test_throttle_allows_and_is_spent_from_python(benchmark: Any) -> None:
    throttle = Throttle(1_000_000)
    clock = iter(range(1 << 40))

    def spend() -> int:
        now = turn.NOW + next(clock) * 1e-4
        allowed = throttle.allowance(now)
        throttle.spend(allowed, now)
        return int(allowed)

    assert benchmark(spend) >= 0
