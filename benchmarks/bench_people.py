"""How fast a file of people becomes profiles: `sluice import` as a process, the look before it included.

    python -m benchmarks.bench_people [--rows 1000000] [--connections 2] [--dry-run]

Writes a seeded file of seven columns (external_id, phone, e-mail, two texts, a number, a day), a row in fifty refused,
starts a server of its own with fsync on, imports the file into an empty database, and imports it again. Prints one JSON
object: rows a second of each, and the most memory the process had. Not measured: a database that already holds many.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gateway.store.embedded import Embedded

CITIES = ("London", "São Paulo", "Köln", "Paris", "Madrid", "Kraków")


def write_file(path: Path, rows: int, seed: int = 1) -> None:
    """Write the file; the same arguments give the same octets."""
    chance = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        file.write("external_id,phone,email,first_name,city,points,last_visit\n")
        for at in range(rows):
            number = f"+49151{10000000 + at}" if at % 50 else "4.91512E+11"
            day = f"2026-{1 + at % 12:02}-{1 + at % 28:02}"
            name, city = f"Person{at % 5000}", CITIES[at % len(CITIES)]
            file.write(f"c{at},{number},p{at}@example.com,{name},{city},{chance.randrange(5000)},{day}\n")


def timed(arguments: list[str], environment: dict[str, str]) -> tuple[float, str]:
    """Run the gateway to its end; -> seconds, and what it printed."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 65), done.stderr
    return time.perf_counter() - begun, done.stdout


def main() -> None:
    """Parse, start a server, import twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=2)
    parser.add_argument("--dry-run", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-people-") as folder:
        os.chmod(folder, 0o711)
        path = Path(folder) / "people.csv"
        write_file(path, given.rows)
        with Embedded(os.path.join(folder, "pg"), {"shared_buffers": "512MB", "max_wal_size": "4GB"}) as server:
            environment = {**os.environ, "SLUICE_DSN": server.dsn, "SLUICE_HOME": folder}
            timed(["migrate"], environment)
            arguments = ["import", str(path), "--map", "points=points:number", "--map", "last_visit=last_visit:time"]
            arguments += ["--json", "--connections", str(given.connections)]
            look_s, _ = timed([*arguments, "--dry-run"], environment)
            found = {"rows": given.rows, "look_rows_per_s": round(given.rows / look_s)}
            if not given.dry_run:
                first_s, out = timed(arguments, environment)
                again_s, _ = timed(arguments, environment)
                assert json.loads(out)["poured"]["created"] == given.rows - (given.rows + 49) // 50
                found |= {"import_s": round(first_s, 1), "rows_per_s": round(given.rows / first_s)}
                found["again_s"] = round(again_s, 1)
            found["peak_mib"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
            print(json.dumps(found))


if __name__ == "__main__":
    main()
