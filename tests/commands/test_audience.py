"""`sluice audience` as a person meets it."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner

from gateway.__main__ import main
from gateway.campaign.evaluation import Person
from gateway.store import selection
from tests.fixtures.audiences import NOW, write_people

CROWD = [
    Person(number=447700900001, attributes={"city": "Berlin", "name": "Ann"}, fields={"orders.last": NOW}),
    Person(number=447700900001, attributes={"city": "Berlin", "name": "Bob"}),
    Person(number=447700900002, attributes={"city": "Wien"}, fields={"orders.last": NOW - timedelta(days=30)}),
    Person(attributes={"city": "Wien"}),
]


@pytest.fixture
def peopled(dsn: str) -> str:
    async def write() -> None:
        connection = await asyncpg.connect(dsn)
        await write_people(connection, CROWD)
        for name in ("city", "name"):
            await connection.execute("INSERT INTO attribute_kind VALUES ($1, 'string', $2)", name, NOW)
        await connection.close()

    asyncio.run(write())
    return dsn


def run(dsn: str, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["audience", *arguments, "--dsn", dsn])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_people_are_counted_as_of_a_time(peopled: str) -> None:
    assert run(peopled, "count", "city = 'Berlin'") == (0, "2 people, 2 of them with a number\n")
    told = "2 people, 2 of them with a number; 1 numbers\n"
    assert run(peopled, "count", "--numbers", "city = 'Berlin'") == (0, told)
    assert run(peopled, "count", "orders.last > 30d", "--at", NOW.isoformat())[1].startswith("1 people")
    early = (NOW - timedelta(seconds=1)).isoformat()
    assert run(peopled, "count", "orders.last > 30d", "--at", early)[1].startswith("0 people")


def test_a_name_that_nobody_has_used_is_refused_with_its_place(peopled: str) -> None:
    code, output = run(peopled, "count", "city = 'x' and\n nam = 'y'")
    assert code == 65 and "line 2, column 2" in output and "did you mean 'name'" in output
    assert run(peopled, "count", "nam = 'y'", "--allow-unknown")[0] == 0
    assert run(peopled, "count", '{"is": "nothing"}')[0] == 65
    assert run(peopled, "count", "@/nowhere")[0] == 65
    assert run(peopled, "count", "everyone", "--zone", "Mars/Base")[0] == 2
    assert run(peopled, "count", "everyone", "--at", "today")[0] == 2


def test_an_audience_is_kept_shown_asked_for_by_others_and_forgotten(peopled: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("city = 'Wien'\n")
    assert run(peopled, "add", "vienna", f"@{tmp_path / 'text'}") == (
        0,
        "audience 'vienna', version 1: city = 'Wien'\n",
    )
    assert run(peopled, "add", "others", "not in_segment('vienna')")[0] == 0
    assert run(peopled, "count", "in_segment('others')")[1].startswith("2 people")
    assert run(peopled, "list")[1].splitlines() == [
        "others\tversion 1\tnot in_segment('vienna')",
        "vienna\tversion 1\tcity = 'Wien'",
    ]
    assert run(peopled, "show", "vienna")[1] == "city = 'Wien'\n"
    tree = run(peopled, "show", "vienna", "--json")[1]
    assert json.loads(tree)["to"] == "Wien" and run(peopled, "count", tree)[1].startswith("2 people")
    code, output = run(peopled, "add", "vienna", "in_segment('others')")
    assert code == 65 and "is asked of itself" in output
    assert run(peopled, "forget", "vienna")[0] == 65
    assert run(peopled, "forget", "others")[0] == run(peopled, "forget", "vienna")[0] == 0
    assert run(peopled, "forget", "vienna")[0] == run(peopled, "show", "vienna")[0] == 65


def test_members_are_named_and_frozen_into_a_list_each_number_once(peopled: str) -> None:
    """TH-9."""
    assert run(peopled, "members", "city = 'Wien' and number exists") == (0, "3\t+447700900002\n")
    assert run(peopled, "freeze", "everyone", "--list", "all", "--field", "name") == (0, "list 'all': 2 numbers\n")
    assert run(peopled, "freeze", "everyone", "--list", "all")[0] == 65


def test_what_a_freeze_that_was_killed_has_left_is_no_list_and_is_not_in_the_next_one(peopled: str) -> None:
    """SG-6: a share of the buckets was committed, and the other was not."""

    async def leave() -> None:
        connection = await asyncpg.connect(peopled)
        for name, source in (("left", f"{selection.FROZEN}then: everyone"), ("import", "people.csv")):
            await connection.execute(
                "INSERT INTO contact_list (name, source_name, source_sha256, fields, state, created_at) "
                "VALUES ($1, $2, '', '{}', 'loading', $3)",
                name,
                source,
                NOW,
            )
            await connection.execute(
                "INSERT INTO list_entry (bucket, list, number, attributes) "
                "SELECT 1, id, 256, '{}' FROM contact_list WHERE name = $1",
                name,
            )
        await connection.close()

    asyncio.run(leave())
    assert run(peopled, "count", "in_list('left')")[0] == 65
    assert run(peopled, "freeze", "everyone", "--list", "left") == (0, "list 'left': 2 numbers\n")
    assert run(peopled, "count", "--numbers", "in_list('left')")[1].endswith("; 2 numbers\n")
    code, output = run(peopled, "freeze", "everyone", "--list", "import")
    assert code == 65 and "half of an import" in output


def test_an_audience_is_watched_and_watched_no_more(peopled: str) -> None:
    """SG-4."""
    assert run(peopled, "add", "vienna", "city = 'Wien'")[0] == run(peopled, "watch", "vienna")[0] == 0
    assert run(peopled, "list")[1] == "vienna\tversion 1, watched\tcity = 'Wien'\n"
    assert "0 people are in it" in run(peopled, "show", "vienna")[1]
    code, output = run(peopled, "forget", "vienna")
    assert code == 65 and "sluice audience unwatch vienna" in output
    assert run(peopled, "unwatch", "vienna")[0] == run(peopled, "forget", "vienna")[0] == 0
    assert run(peopled, "watch", "vienna")[0] == run(peopled, "unwatch", "vienna")[0] == 65


@pytest.mark.covers("S0.14")
def test_sg_9_scores_are_made_at_once_and_shown_by_group(peopled: str) -> None:
    code, output = run(peopled, "rfm")
    assert code == 65 and "none yet" in output
    code, output = run(peopled, "rfm", "--now")
    lines = output.splitlines()
    assert code == 0 and [line.split()[1] for line in lines[:8]][0] == "champions"
    assert sum(int(line.split()[0]) for line in lines[:8]) == 2
    assert "version 1, 2 buyers" in output and "r: 2 from" in output
    assert "version 1, 2 buyers" in run(peopled, "rfm")[1]
    assert run(peopled, "count", "rfm.group exists")[1].startswith("2 people")
    assert run(peopled, "count", "rfm('lots')")[0] == 65


def test_s0_13_the_inactive_share_equals_a_count_by_hand(peopled: str) -> None:
    told = json.loads(run(peopled, "inactive", "--days", "30", "--days", "31", "--at", NOW.isoformat(), "--json")[1])
    assert told["order"] == {"people": 4, "never": 2, "inactive": {"30": 3, "31": 2}}
    assert told["buyers"] == {"people": 2, "never": 0, "inactive": {"30": 1, "31": 0}}
    assert "75.0%" in run(peopled, "inactive", "--days", "30", "--at", NOW.isoformat())[1]


def test_s0_11_a_rhythm_that_is_said_is_what_is_proposed_by(peopled: str) -> None:
    code, output = run(peopled, "threshold", "--every", "1")
    assert code == 0 and "by rhythm     90 days" in output and "nobody has bought a second time" in output
    assert json.loads(run(peopled, "threshold", "--json")[1]) == {"rhythm": None, "purchases": None}
