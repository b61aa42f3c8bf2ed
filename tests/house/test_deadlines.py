"""Nothing waits for Postgres without an end: every wait on it stands under a deadline of ours.

asyncpg waits without end on a frozen server. So an `await` of a function of the store, or of a connection's own method,
stands lexically inside `async with postgres.deadline(…)`, `Connections.take(…)` or `Database.connection(…)` — or in a
function that is handed the connection: then it stands under its caller's, and its own call is judged alike.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WATCHED = ("gateway/dispatch", "gateway/commands", "gateway/contacts", "gateway/app.py", "gateway/metrics.py")
# What gives a block its end; `open_orders` and `open_feed` hand on what Database.connection gives them, and `_lent` of
# dispatch/stops.py yields inside the deadline that it sets.
BOUNDS = {"deadline", "take", "connection", "open_orders", "open_feed", "_lent"}
# Of the store, with a deadline of their own inside, each reviewed: gateway/store/postgres.py, migrate.py and
# sources.py, which asks over a connection of its own.
ENDS_BY_ITSELF = {
    "postgres.connect",
    "postgres.close",
    "migrate.pending",
    "migrate.require",
    "migrate.migrate",
    "sources.ask",
}
METHODS = {
    "fetch", "fetchrow", "fetchval", "execute", "executemany", "copy_from_query", "copy_to_table",
    "copy_records_to_table", "add_listener", "remove_listener", "reset", "close", "prepare",
}  # fmt: skip
# (file, function): why it may. If you add one, say what ends the wait.
REVIEWED: dict[tuple[str, str], str] = {}
# Rooms of the store that bound every wait of theirs (test below).
BOUNDED_ROOMS = ("people",)


def sources() -> list[Path]:
    found: list[Path] = []
    for place in WATCHED:
        path = ROOT / place
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return found


def store_rooms(tree: ast.Module) -> set[str]:
    """Names under which a module knows the rooms of the store, and single functions of them."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gateway.store"):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def is_connection(node: ast.expr) -> bool:
    """Whether an expression is a connection, by its name."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return bool(re.fullmatch(r"_?connection", name))


def takes_connection(function: ast.AsyncFunctionDef) -> bool:
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return any(
        argument.annotation is not None and ast.unparse(argument.annotation).strip("\"'").endswith("Connection")
        for argument in arguments
    )


class Waits(ast.NodeVisitor):
    """Collects the awaits of the store that no deadline bounds: (line, what, function)."""

    def __init__(self, tree: ast.Module):
        self.rooms = store_rooms(tree)
        # Handed a connection: those that bound every wait of theirs are as good as bounded, wherever they are called.
        handed = [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef) and takes_connection(node)]
        self.handed = {node.name for node in handed}
        before: set[str] = set()
        while self.handed != before:
            before = self.handed
            self.handed = {node.name for node in handed if node.name in before and self._waits_in(node)}
        self.found: list[tuple[int, str, str]] = []
        self.bounded = 0
        self.function = ""
        self._bounds = 0
        self.visit(tree)

    def _waits_in(self, function: ast.AsyncFunctionDef) -> bool:
        """Whether something in a function waits under its caller's deadline alone."""
        self.found, self.bounded, self.function, self._bounds = [], 0, "", 0
        for statement in function.body:
            self.visit(statement)
        return bool(self.found)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        outside = self._bounds, self.function
        self._bounds = 1 if takes_connection(node) else 0
        # A function in another one is called elsewhere, but under what its caller stands under.
        self.function = f"{outside[1]}.{node.name}" if outside[1] else node.name
        self.generic_visit(node)
        self._bounds, self.function = outside

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outside = self.function
        self.function = node.name
        self.generic_visit(node)
        self.function = outside

    def visit_AsyncWith(self, node: ast.AsyncWith) -> None:
        bounds = 0
        for item in node.items:
            self.visit(item.context_expr)
            call = item.context_expr
            if isinstance(call, ast.Call):
                name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
                bounds += name in BOUNDS
            # The items of one `async with` stand inside those before them.
            self._bounds += bounds
            self._bounds -= bounds
        self._bounds += bounds
        for statement in node.body:
            self.visit(statement)
        self._bounds -= bounds

    def visit_Await(self, node: ast.Await) -> None:
        if isinstance(node.value, ast.Call):
            what = self._of_store(node.value)
            if what and not self._bounds:
                self.found.append((node.lineno, what, self.function))
            elif what:
                self.bounded += 1
        self.generic_visit(node)

    def _of_store(self, call: ast.Call) -> str:
        """What an awaited call asks of Postgres; empty: nothing."""
        function = call.func
        if isinstance(function, ast.Attribute):
            name = f"{ast.unparse(function.value)}.{function.attr}"
            if isinstance(function.value, ast.Name) and function.value.id in self.rooms:
                return "" if name in ENDS_BY_ITSELF or function.value.id in BOUNDED_ROOMS else name
            if function.attr in METHODS and is_connection(function.value):
                return name
            if isinstance(function.value, ast.Name) and function.value.id == "self" and function.attr in self.handed:
                return name
        elif isinstance(function, ast.Name):
            known = {name.rsplit(".", 1)[1] for name in ENDS_BY_ITSELF}
            if function.id in self.handed or (function.id in self.rooms and function.id not in known):
                return function.id
        return ""


def waits_of(path: Path) -> Waits:
    return Waits(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_wait_on_postgres_stands_under_a_deadline(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    endless = [
        f"{name}:{line}: {what} in {function}: expected inside `async with postgres.deadline(…)`, found no end"
        for line, what, function in waits_of(path).found
        if (name, function) not in REVIEWED
    ]
    assert endless == []


def test_the_watch_sees_the_waits_that_there_are() -> None:
    """A rule that finds nothing holds nothing: most rooms that ask Postgres are seen to do so."""
    seen = {path.stem: waits_of(path).bounded for path in sources()}
    assert all(seen[room] for room in ("dispatcher", "intent", "settlement", "rescue", "failover", "control", "worker"))
    assert all(seen[room] for room in ("send", "status", "_control", "app", "query", "capture"))


@pytest.mark.parametrize("room", BOUNDED_ROOMS)
def test_room_that_is_said_to_bound_its_waits_does(room: str) -> None:
    waits = waits_of(ROOT / f"gateway/store/{room}.py")
    assert waits.handed == set() and waits.bounded


def test_reviewed_exceptions_still_exist() -> None:
    stale = [key for key in REVIEWED if key[1] not in {one[2] for one in waits_of(ROOT / key[0]).found}]
    assert stale == []


@pytest.mark.parametrize(
    ("source", "endless"),
    [
        ("async def f(c):\n    await queue.claim(c)", 1),
        ("async def f(c):\n    async with postgres.deadline(c, 1):\n        await queue.claim(c)", 0),
        ("async def f(self):\n    await self._connection.fetch('SELECT 1')", 1),
        ("async def f(connection: postgres.Connection):\n    await queue.claim(connection)", 0),
        ("async def g(c: Connection):\n    await queue.claim(c)\nasync def f(c):\n    await g(c)", 1),
        ("async def f(c):\n    async with postgres.deadline(c, 1):\n        pass\n    await queue.claim(c)", 1),
    ],
    ids=["bare", "bounded", "own method", "handed", "handed on without", "behind the block"],
)
def test_a_wait_without_an_end_is_found(source: str, endless: int) -> None:
    tree = ast.parse("from gateway.store import queue, postgres\n" + source)
    assert len(Waits(tree).found) == endless
