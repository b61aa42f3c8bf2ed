"""Cutting SQL into statements."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.store.statements import bare, split


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 'a;b''c;'",
        r"SELECT E'a\';b'",
        "SELECT e'\\\\'",
        'SELECT "a;""b"',
        "SELECT $$a;b$$",
        "SELECT $_x1$ ; $$ ; $_x1$",
        "SELECT $1, a$b$, c$b$",
        "SELECT -- ; not here\n 1",
        "SELECT 1 /* ; /* ; */ ; */",
        "DO $$ BEGIN PERFORM 1; END $$",
        "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END",
        "CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC INSERT INTO t VALUES (1); END",
        "SELECT U&'d\\0061t;a'",
        "SELECT 'it''s' 'two;'",
        "COMMENT ON TABLE begin IS 'case'",
    ],
)
def test_semicolon_inside_something_ends_nothing(statement: str) -> None:
    assert split(f"SELECT 0;\n{statement};\nSELECT 2") == ["SELECT 0", statement, "SELECT 2"]


def test_comment_stays_with_the_statement_after_it() -> None:
    assert split("-- first\nSELECT 1;\n-- second; still\nSELECT 2;") == [
        "-- first\nSELECT 1",
        "-- second; still\nSELECT 2",
    ]


@pytest.mark.parametrize("nothing", ["", " \n", ";;", "-- only words", "/* a; b */;", "-- a\n;-- b\n;"])
def test_comments_and_semicolons_alone_are_no_statement(nothing: str) -> None:
    assert split(nothing) == []


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("SELECT 1;\nSELECT 'x", "line 2: expected the end of a quote"),
        ('SELECT "x', "line 1: expected the end of a quote"),
        (r"SELECT E'x\'", "line 1: expected the end of a quote"),
        ("\n\nDO $x$ BEGIN; $y$", "line 3: expected the end of $x$"),
        ("/* a /* b */", "line 1: expected the end of /*"),
        ("CREATE FUNCTION f() BEGIN ATOMIC SELECT 1;", "line 1: expected the end of BEGIN"),
        ("\\copy t FROM 'x'", "line 1: expected SQL, found a backslash"),
    ],
)
def test_file_that_ends_in_the_middle_is_named_with_its_line(sql: str, what: str) -> None:
    with pytest.raises(ValueError, match=r"^line \d+: expected") as caught:
        split(sql)
    assert what in str(caught.value)


def test_bare_statement_has_lost_the_comments_before_it_only() -> None:
    assert bare("-- a\n/* b /* c */ */ SELECT 1 -- d") == "SELECT 1 -- d"
    assert bare("-- a") == ""


PIECES = st.sampled_from(
    ["'", '"', "$$", "$a$", ";", "--", "\n", "/*", "*/", "(", ")", "E'", "\\", "begin", "a ", "''"]
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_any_text_is_cut_or_refused_and_loses_no_word(text: str) -> None:
    try:
        found = split(text)
    except ValueError:
        return
    assert sum(one.count("a") for one in found) <= text.count("a")
    assert all(one in text for one in found)


@given(st.lists(st.text(alphabet="ab;'\"$-/*\\\n\0é", max_size=20), min_size=1, max_size=5))
def test_any_text_survives_as_a_string_literal(texts: list[str]) -> None:
    statements = ["SELECT '" + text.replace("'", "''") + "'" for text in texts]
    assert split(";".join(statements)) == statements
