"""./dev simulate: many worlds, one a seed; what failed, and how to see it again.

    ./dev simulate --seeds 1000              worlds 0 … 999
    ./dev simulate --seeds 50 --from 7000
    ./dev simulate --long                    a million lifecycles
    ./dev simulate --stops 100000            until so many STOPs were acknowledged, one for every third message
    ./dev simulate --replay 4711             one world: its plan, its faults, what it met, what it broke
    ./dev simulate --shrink 4711             the fewest of its faults that still break it (ddmin)
    ./dev simulate --bugs [NAMES]            seeded mistakes, and what finds them (hunt.py); --limit-s 120, --keep

Printed: message lifecycles a second and core (enqueued, sent, answered, receipted, settled, checked), in how many
worlds each situation was met, and which never was although so many were seen. Ends with 1 where an invariant broke.
"""

import argparse
import gc
import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

import msgspec

from tests.simulation import hunt, world
from tests.simulation.checks import SITUATIONS
from tests.simulation.world import Event, Result

LONG = 1_000_000
# From so many worlds on, a situation that was never met is told of.
ENOUGH = 200


def worlds(seeds: Iterator[int], messages: int, jobs: int, many_stops: bool = False) -> Iterator[tuple[Result, float]]:
    """Run worlds, on several cores where there are; -> results and their CPU seconds, in order."""
    if jobs == 1:
        for seed in seeds:
            yield one(seed, messages, many_stops)
        return
    with ProcessPoolExecutor(jobs) as pool:
        waiting = []
        for seed in seeds:
            waiting.append(pool.submit(one, seed, messages, many_stops))
            if len(waiting) >= 4 * jobs:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def one(seed: int, messages: int, many_stops: bool = False) -> tuple[Result, float]:
    """Run one world; -> its result, and the CPU seconds it took."""
    logging.disable(logging.CRITICAL)
    # What a world makes it keeps to its end: to look through it again and again for what nobody has is a tenth of all.
    gc.disable()
    gc.freeze()
    began = time.process_time()
    result = world.run_seed(seed, messages=messages, many_stops=many_stops)
    gc.collect()
    return result, time.process_time() - began


def shrink(events: list[Event], fails: Callable[[list[Event]], bool]) -> list[Event]:
    """Find a list of events that still fails and of which none can be left out (ddmin, Zeller and Hildebrandt 2002)."""
    pieces = 2
    while len(events) >= 1:
        size = max(1, len(events) // pieces)
        for at in range(0, len(events), size):
            rest = events[:at] + events[at + size :]
            if fails(rest):
                events, pieces = rest, max(2, pieces - 1)
                break
        else:
            if size == 1:
                break
            pieces = min(len(events), pieces * 2)
    return events


def replay(seed: int, messages: int, events: list[Event] | None = None) -> Result:
    """Run one world and tell everything of it."""
    plan = world.plan_of(seed, messages=messages)
    if events is not None:
        plan.events = events
    shown = msgspec.to_builtins(plan)
    for run in shown["runs"]:
        run["chunks"] = f"{len(run['chunks'])} chunks, {sum(len(chunk[1]) for chunk in run['chunks'])} messages"
    print(json.dumps(shown, indent=1, default=str))
    made = world.World(plan)
    result = made.run()
    print("what was done:", *made.told, sep="\n  ")
    print(f"met: {dict(sorted(result.reached.items()))}")
    print(f"trace {result.trace}, {result.virtual_s:.3f} virtual s, {result.turns} turns, {result.submits} submit_sm")
    print("\n".join(result.violations) or "every invariant held")
    return result


def never_met(reached: Counter[str], seen: int) -> list[str]:
    """Say what so many worlds have never met, and should have."""
    if seen < ENOUGH:
        return []
    return [f"never met in {seen} worlds: {name}: {what}" for name, what in SITUATIONS.items() if not reached[name]]


def main(arguments: list[str]) -> int:
    """Do what the arguments say; -> the exit code."""
    parser = argparse.ArgumentParser(prog="./dev simulate", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100, help="how many worlds (100)")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--messages", type=int, help=f"most of a world ({world.MESSAGES}; {hunt.MESSAGES} for --bugs)")
    parser.add_argument("--long", action="store_true", help=f"until there were {LONG} lifecycles")
    parser.add_argument("--stops", type=int, default=0, help="until there were so many STOPs")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--replay", type=int, metavar="SEED", help="one world, told whole")
    parser.add_argument("--shrink", type=int, metavar="SEED", help="the fewest faults that still break it")
    parser.add_argument("--bugs", nargs="*", metavar="NAME", help="look for seeded mistakes, all or some")
    parser.add_argument("--limit-s", type=float, default=hunt.LIMIT_S, help=f"of each, in CPU s ({hunt.LIMIT_S:g})")
    parser.add_argument("--keep", action="store_true", help="write down what was found")
    chosen = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    chosen.messages = chosen.messages or (world.MESSAGES if chosen.bugs is None else hunt.MESSAGES)
    if chosen.bugs is not None:
        return hunt.sweep(chosen.bugs, chosen.limit_s, chosen.messages, chosen.jobs, chosen.keep)
    if chosen.replay is not None:
        return 1 if replay(chosen.replay, chosen.messages).violations else 0
    if chosen.shrink is not None:
        seed = chosen.shrink
        events = world.plan_of(seed, messages=chosen.messages).events

        def fails(left: list[Event]) -> bool:
            return bool(world.run_seed(seed, messages=chosen.messages, events=left).violations)

        if not fails(events):
            print(f"seed {seed}: every invariant held, there is nothing to make shorter")
            return 0
        replay(seed, chosen.messages, shrink(events, fails))
        return 1
    return survey(chosen.first, chosen.seeds, chosen.messages, chosen.jobs, LONG if chosen.long else 0, chosen.stops)


def survey(first: int, count: int, messages: int, jobs: int, lifecycles: int, stops: int = 0) -> int:
    """Run many worlds and sum them up; -> the exit code."""
    reached: Counter[str] = Counter()
    failed: list[int] = []
    # What is there by now is there to the end: nobody looks through it again.
    gc.freeze()
    done = seen = 0
    cpu_s, told_at = 0.0, time.monotonic()
    stopped, lags, acks = 0, list[float](), list[float]()
    # Seeds without end for --long and --stops: the sum of lifecycles or STOPs ends it.
    last = first + (10**9 if lifecycles or stops else count)
    for result, used_s in worlds(iter(range(first, last)), messages, jobs, bool(stops)):
        stopped += result.stops
        lags += result.stop_lags
        acks += result.stop_acks
        seen, done, cpu_s = seen + 1, done + result.messages, cpu_s + used_s
        reached.update({name: 1 for name, times in result.reached.items() if times})
        if result.violations:
            failed.append(result.seed)
            print("\n".join(result.violations), flush=True)
        if time.monotonic() - told_at > 30:
            told_at = time.monotonic()
            print(f"{seen} worlds, {done} lifecycles, {len(failed)} failed", flush=True)
        if (lifecycles and done >= lifecycles) or (stops and stopped >= stops):
            break
    print(f"{seen} worlds, {done} lifecycles, {done / max(cpu_s, 1e-9):.0f} a second and core, {cpu_s:.0f} CPU s")
    if stopped:
        late = sorted([0.0] * (stopped - len(lags)) + lags)
        acks.sort()
        print(
            f"{stopped} STOPs acknowledged; last message begun behind the COMMIT: {len(lags)} had one, "
            f"p99 {1e3 * late[len(late) * 99 // 100]:.1f} ms, longest {1e3 * late[-1]:.1f} ms; "
            f"COMMIT to acknowledgement: p50 {1e3 * acks[len(acks) // 2]:.1f} ms, "
            f"p99 {1e3 * acks[len(acks) * 99 // 100]:.1f} ms, longest {acks[-1]:.2f} s"
        )
    print("worlds that met: " + ", ".join(f"{name} {times}" for name, times in sorted(reached.items())))
    print("\n".join(never_met(reached, seen)), end="\n" if never_met(reached, seen) else "")
    if failed:
        print(f"failed: {failed}; see one with ./dev simulate --replay {failed[0]}, or --shrink {failed[0]}")
    return 1 if failed else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of names are in another order with every seed of their hash.
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.simulation.run", *sys.argv[1:]],
            os.environ | {"PYTHONHASHSEED": "0"},
        )
    sys.exit(main(sys.argv[1:]))
