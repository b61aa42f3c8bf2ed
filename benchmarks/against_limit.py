"""The client pool beside a C client, on one C SMSC, in one run.

    python -m benchmarks.against_limit [--rounds N] [--quick] [--scale SHARE]

For windows of 10, 100 and 1000 without receipts, and 100 with them: `limit, pool, limit, pool …`, one bind, loopback,
the sink pinned to the last core and the client to the first. Prints one result (figures.py).

The C client runs twice a round, once answering a read whole and once in slices, so that the SMSC works meanwhile; the
faster way is the limit. What the two do for a message:

    C client   patches a sequence number in an encoded submit_sm, counts a response by its status
    pool       takes the position from a claimed batch, renders, encodes, cuts and writes the submit_sm, keeps it in the
               window, finds it again by the response, writes its outcome row as COPY octets; with receipts also
               remembers the message_id, parses each receipt, finds its message and writes its row

The ratio is what that costs, and Python around it.
Not measured: Postgres, more binds than one, a network. On a single core both ends share
it, and no ratio means much.
"""

import argparse
import json
from functools import partial
from typing import Any

from benchmarks import figures, machine
from benchmarks.limit import programs

# window, receipts, messages a round of the C client and of the pool: about half a second each on a current core.
CASES = (
    (10, False, 150_000, 150_000),
    (100, False, 1_000_000, 1_000_000),
    (1000, False, 5_000_000, 3_000_000),
    (100, True, 1_000_000, 700_000),
)
# At least and aimed at, as the project's own table of aims has it.
RATIOS = {False: (0.6, 0.8), True: (0.5, 0.7)}
ROUNDS = 5
LIMIT = "the C client in the same round"


def name_of(window: int, receipts: bool) -> str:
    return f"window {window}{' with receipts' if receipts else ''}"


def measure(rounds: int, scale: float, with_single_writes: bool) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run every case; -> (figures, details)."""
    client_core, sink_core = machine.client_core(), machine.sink_core()
    found: list[dict[str, Any]] = []
    details: dict[str, Any] = {"client_core": client_core, "sink_core": sink_core}
    with programs.sink(receipts=True, core=sink_core) as sink:
        for window, receipts, limit_messages, pool_messages in CASES:
            n_limit = max(window, int(limit_messages * scale))
            n_pool = max(window, int(pool_messages * scale))
            where: dict[str, Any] = {"port": sink.port, "window": window, "receipts": receipts, "core": client_core}
            taken = figures.interleaved(
                rounds,
                [
                    ("limit", partial(programs.run_fastest_client, messages=n_limit, **where)),
                    ("pool", partial(programs.run_pool, messages=n_pool, **where)),
                ],
            )
            name = name_of(window, receipts)
            details[name] = taken
            limit, pool = taken["limit"], taken["pool"]
            floor, aim = RATIOS[receipts]
            ratios = [mine["rate"] / theirs["rate"] for mine, theirs in zip(pool, limit, strict=True)]
            found += [
                figures.figure(f"pool / C, {name}", ratios, "ratio", floor=floor, aim=aim, against=LIMIT),
                figures.figure(f"pool, {name}", [one["rate"] for one in pool], "submits/s"),
                figures.figure(f"C, {name}", [one["rate"] for one in limit], "submits/s"),
                figures.figure(
                    f"pool CPU, {name}", [one["cpu_us_per_message"] for one in pool], "us/message", better=figures.LOWER
                ),
                figures.figure(
                    f"C CPU, {name}", [one["cpu_us_per_message"] for one in limit], "us/message", better=figures.LOWER
                ),
            ]
        if with_single_writes:
            n = max(100, int(200_000 * scale))
            single = [programs.run_client(sink.port, n, 100, one_by_one=True, core=client_core) for _ in range(rounds)]
            details["one send a message"] = single
            found.append(
                figures.figure("C, window 100, one send a message", [one["rate"] for one in single], "submits/s")
            )
    details["sink"] = sink.counted
    return found, details


def main() -> None:
    parser = argparse.ArgumentParser(description="Hold the client pool against a C client.")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="one round, a quarter of the messages")
    parser.add_argument("--scale", type=float, help="share of the usual number of messages")
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    scale = options.scale or (0.25 if options.quick else 1.0)
    load = machine.load()
    found, details = measure(rounds, scale, with_single_writes=True)
    print(json.dumps(figures.result("limit", found, details, quick=options.quick, load=load)))


if __name__ == "__main__":
    main()
