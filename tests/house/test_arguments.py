"""Time, chance and who we are come as arguments: below the shells nobody asks the system, or no simulation is exact."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHELLS = ("gateway/app.py", "gateway/__main__.py", "gateway/commands/")
MODULES = ("time", "secrets")
NAMES = {
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
    "uuid": {"uuid1", "uuid4"},
    "os": {"urandom", "getpid"},
    "socket": {"gethostname", "getfqdn"},
    "random": {"SystemRandom"},
}
# What asks all the same, and why it may.
REVIEWED = {
    ("gateway/smpp/wake.py", "time.monotonic"): "asks only whether the clock that it was handed is the system's",
    ("gateway/simulator/smsc.py", "time.monotonic_ns"): "what Ticks is where nobody says otherwise",
    ("gateway/simulator/smsc.py", "time.time_ns"): "what Ticks is where nobody says otherwise",
    ("gateway/simulator/smsc.py", "time.monotonic"): "how long the program ran, for its last words",
    ("gateway/store/embedded.py", "time.monotonic"): "starts the processes of a Postgres, and waits for them",
    ("gateway/store/embedded.py", "time.sleep"): "starts the processes of a Postgres, and waits for them",
    ("gateway/store/embedded.py", "secrets.token_hex"): "a folder that nobody else has",
    ("gateway/store/migrate.py", "time.monotonic"): "a command's own patience with locks",
    ("gateway/store/standing.py", "os.getpid"): "a file that no other process writes",
}


def asked(source: str) -> Iterator[tuple[int, str]]:
    """Find what of the system a module asks: (line, name)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if is_the_systems(node.module or "", alias.name):
                    yield node.lineno, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if is_the_systems(owner, node.attr):
                yield node.lineno, f"{owner}.{node.attr}"


def is_the_systems(owner: str, name: str) -> bool:
    """Whether a name is the system's clock, dice or identity; functions of `random` have one state for all."""
    if owner == "random" and name[:1].islower():
        return True
    return owner in MODULES or name in NAMES.get(owner, ())


def test_below_the_shells_nobody_asks_the_system_for_time_chance_or_identity() -> None:
    found, used = [], set()
    for file in sorted((ROOT / "gateway").rglob("*.py")):
        path = file.relative_to(ROOT).as_posix()
        if path.startswith(SHELLS):
            continue
        for line, name in asked(file.read_text(encoding="utf-8")):
            if (path, name) in REVIEWED:
                used.add((path, name))
            else:
                found.append(f"{path}:{line}: {name}: expected an argument of a shell (app.py, commands)")
    assert not found, "\n".join(found)
    assert used == set(REVIEWED), f"reviewed and gone: {set(REVIEWED) - used}"


def test_each_way_to_ask_is_seen() -> None:
    source = (
        "import time, random, os, socket, uuid, datetime as d\nfrom secrets import token_hex\n"
        "from datetime import datetime\n"
        "time.time()\nrandom.random()\nos.getpid()\nsocket.gethostname()\nuuid.uuid4()\ndatetime.now()\nos.urandom(3)\n"
        "chance = random.Random(3)\nd.datetime.utcnow()\n"
    )
    assert {name for _, name in asked(source)} == {
        "secrets.token_hex", "time.time", "random.random", "os.getpid", "socket.gethostname", "uuid.uuid4",
        "datetime.now", "os.urandom", "datetime.utcnow",
    }  # fmt: skip
