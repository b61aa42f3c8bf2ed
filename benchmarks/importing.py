"""bench_import.py several times, as a result: a customer's file into Postgres.

    python -m benchmarks.importing [--rounds N] [--rows N] [--quick]

What is measured, and what is not, stands in bench_import.py: a seeded file, parsed and validated, then imported twice
under one name into an embedded Postgres of its own.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks import figures, machine
from benchmarks.limit import programs

ROWS = 1_000_000
ROUNDS = 3
TIMEOUT_S = 600.0
# key of bench_import's object -> name, unit, better, floor, aim
WANTED = (
    ("import_rows_per_s", "import", "rows/s", figures.HIGHER, 50_000.0, 150_000.0),
    ("repeat_rows_per_s", "the same file again", "rows/s", figures.HIGHER, None, None),
    ("parsed_rows_per_s", "parsed and validated, without Postgres", "rows/s", figures.HIGHER, None, None),
    ("import_reader_cpu_us_per_row", "CPU, reader", "us/row", figures.LOWER, None, None),
    ("import_postgres_cpu_us_per_row", "CPU, Postgres", "us/row", figures.LOWER, None, None),
    ("rss_mb", "memory of the reader", "MB", figures.LOWER, None, None),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Import a customer's file, several times.")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--quick", action="store_true", help="one import of 50,000 rows")
    options = parser.parse_args()
    load = machine.load()
    rows = options.rows or (50_000 if options.quick else ROWS)
    command = [sys.executable, str(Path(__file__).with_name("bench_import.py")), "--rows", str(rows)]
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    runs = [programs.ask(command, None, TIMEOUT_S) for _ in range(rounds)]
    found = [
        figures.figure(name, [run[key] for run in runs], unit, better=better, floor=floor, aim=aim)
        for key, name, unit, better, floor, aim in WANTED
        if all(key in run for run in runs)
    ]
    details = {"rows": rows, "runs": runs}
    print(json.dumps(figures.result("import", found, details, quick=options.quick, load=load)))


if __name__ == "__main__":
    main()
