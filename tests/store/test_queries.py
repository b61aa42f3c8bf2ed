"""Named queries out of .sql files."""

from pathlib import Path

import pytest

from gateway.store import queries
from gateway.store.statements import split

GOOD = """-- What this file is about; no query yet.

-- name: claim
-- Take one; "index:" in the middle of a sentence is nothing.
-- index: chunk_claim (lane, id)
UPDATE chunk SET state = 1 -- why; not
WHERE lane = $1;

-- name: release
-- Give it back,
-- whoever had it.
-- index: none: one row by primary key
UPDATE chunk SET state = 0 WHERE id = $1
"""


def test_block_has_name_sentence_index_and_one_statement() -> None:
    claim, release = queries.parse(GOOD, "queue.sql")
    assert claim.name == "claim"
    assert claim.sentence == 'Take one; "index:" in the middle of a sentence is nothing.'
    assert claim.index == "chunk_claim (lane, id)"
    assert claim.sql == "UPDATE chunk SET state = 1 -- why; not\nWHERE lane = $1"
    assert release.sentence == "Give it back, whoever had it."
    assert release.index == "none: one row by primary key"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("SELECT 1;\n-- name: a\n-- A.\n-- index: none\nSELECT 2", "x.sql:1: expected '-- name"),
        ("SELECT 1;", "x.sql:1: expected '-- name"),
        ("\n-- name: two words\n-- A.\n-- index: none\nSELECT 2", "x.sql:2: expected a name"),
        ("-- name: a\n-- A.\n-- index: none\nSELECT 1; SELECT 2", "a: expected one statement, found 2"),
        ("-- name: a\n-- A.\n-- index: none\n", "a: expected one statement, found 0"),
        ("-- name: a\n-- A.\nSELECT 1", "a: expected '-- index: "),
        ("-- name: a\n-- index: none\nSELECT 1", "a: expected a sentence"),
        ("-- name: a\n-- A.\n-- index: none\nSELECT 'x", "line"),
    ],
)
def test_block_that_says_too_little_is_refused(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=r"expected") as caught:
        list(queries.parse(text, "x.sql"))
    assert what in str(caught.value)


def test_one_name_stands_for_one_query(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text(GOOD)
    (tmp_path / "b.sql").write_text("-- name: claim\n-- Other.\n-- index: none\nSELECT 1")
    with pytest.raises(ValueError, match=r"b\.sql: claim is also a query of a\.sql"):
        queries.load(tmp_path)


def test_unknown_query_is_named_with_those_near_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {one.name: one for one in queries.parse(GOOD, "queue.sql")}
    monkeypatch.setattr(queries, "all_queries", lambda: found)
    assert queries.query("claim").startswith("UPDATE chunk")
    with pytest.raises(KeyError, match="near: release"):
        queries.query("relaese")


def test_every_query_of_the_package_is_one_statement_that_says_what_it_relies_on() -> None:
    for one in queries.all_queries().values():
        assert len(split(one.sql)) == 1
        assert one.sentence and one.index


PIECES = """-- What they are about.

-- piece: answer
-- The best of all; no more.
min(o.status)

-- piece: order
-- The latest first.
o.at DESC
"""


def test_piece_stands_in_every_query_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "pieces.sql").write_text(PIECES)
    for name in ("a", "b"):
        (tmp_path / f"{name}.sql").write_text(f"-- name: {name}\n-- One.\n-- index: none\nSELECT @{{answer}} FROM o")
    assert {one.sql for one in queries.load(tmp_path).values()} == {"SELECT min(o.status) FROM o"}


def test_piece_that_nobody_knows_is_refused_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "pieces.sql").write_text(PIECES)
    (tmp_path / "a.sql").write_text("-- name: a\n-- One.\n-- index: none\nSELECT @{anwser}")
    with pytest.raises(ValueError, match=r"a\.sql:1: a: expected a piece of answer, order, found anwser"):
        queries.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("-- piece: a\n-- A.\nx\n-- name: b\n-- B.\n-- index: none\nSELECT 1", "expected pieces alone"),
        ("-- piece: a\n-- A.\nx\n-- piece: a\n-- A.\nx", "x.sql:4: expected a name like answer, and each once"),
        ("-- piece: two words\n-- A.\nx", "x.sql:1: expected a name"),
        ("-- piece: a\nx", "x.sql:1: a: expected a sentence"),
        ("-- piece: a\n-- A.\n", "x.sql:1: a: expected a sentence on what it says, and SQL"),
    ],
)
def test_piece_that_says_too_little_is_refused(text: str, what: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        queries.pieces(text, "x.sql")
    assert what in str(caught.value)


def test_every_piece_of_the_package_stands_in_two_queries_or_more() -> None:
    """Else it would better stand where it is used; states, what is rolled of them and what gives its place back
    follow from the same words."""
    folder = Path(queries.__file__).parent / "sql"
    shared = queries.pieces((folder / "states.sql").read_text(), "states.sql")
    sql = [one.sql for one in queries.all_queries().values()]
    assert all(sum(piece in one for one in sql) >= 2 for piece in shared.values())
    assert {one.name for one in queries.all_queries().values() if shared["answer"] in one.sql} == {
        "message_states",
        "roll",
        "went_nowhere",
        "write_message_days",
    }
