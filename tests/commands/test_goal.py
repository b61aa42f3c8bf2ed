"""`sluice goal`: GL-1, GL-6."""

import json

import pytest

FILE = """
[[goal]]
event = "order_placed"
where = "total > 50"
within = "5d"
[[goal]]
reply = true
"""


@pytest.fixture
def ask(here, dsn):
    """Run a command on this test's database."""
    return lambda *words: here(*words, "--dsn", dsn)


@pytest.mark.covers("S2.24")
def test_goals_are_declared_from_a_file_and_hold_from_then_on_GL_6(ask, settings, tmp_path):
    settings()
    file = tmp_path / "goals.toml"
    file.write_text(FILE)
    found = ask("goal", "set", "spring", str(file))
    assert found.code == 0 and "2 goals, 2 of them new or changed, for messages from now on" in found.out, found.err
    assert "0 of them new" in ask("goal", "set", "spring", str(file)).out
    file.write_text(FILE.replace("5d", "6d"))
    assert "1 of them new" in ask("goal", "set", "spring", str(file)).out
    rows = [json.loads(line) for line in ask("goal", "list", "--json").out.splitlines()]
    assert [(row["place"], row["within"], row["until"] is None) for row in rows] == [
        (1, "5d", False),
        (1, "6d", True),
        (2, "3d", True),
    ]
    found = ask("goal", "set", "spring", str(file), "--recompute")
    assert "counts them anew" in found.out
    rows = [json.loads(line) for line in ask("goal", "list", "--json").out.splitlines()]
    assert [(row["place"], row["since"][:4]) for row in rows] == [(1, "1970"), (2, "1970")]
    assert "event order_placed\twithin 6d of submitted" in ask("goal", "list").out


def test_everything_that_is_wrong_with_a_file_is_said_with_its_place(ask, settings, tmp_path):
    settings()
    file = tmp_path / "goals.toml"
    file.write_text('other = 1\n[[goal]]\nevent = "a"\nwhere = "total >"\n[[goal]]\nwithin = "9y"\n')
    found = ask("goal", "set", "spring", str(file))
    assert found.code == 65
    for said in ("other: expected [[goal]] alone", "goal[0].where: expected a condition",
                 "goal[1]: expected one of event",
                 "goal[1].within: expected a length from 1min to 90d"):  # fmt: skip
        assert said in found.err, found.err
    file.write_text("[[goal]\n")
    assert "expected TOML" in ask("goal", "set", "spring", str(file)).err
