"""`sluice inbox` as a person meets it: rules IN-1, IN-4, IN-7, IN-8."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.__main__ import main
from gateway.store import stops
from tests.fixtures.conversations import NOW, NUMBER, world

CONFIG = """
[inboxes.desk]
senders = ["12345"]
agents = {anna = {}, bert = {}}
"""
OTHER = NUMBER + 1


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "sluice.toml"
    path.write_text(CONFIG)
    return path


def run(dsn: str, config: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["inbox", *arguments, "--dsn", dsn, "--config", str(config)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def heard(dsn: str) -> dict[str, int]:
    """Two who have written, one of them also stopped and sent a campaign before; -> ids of their conversations."""

    async def work() -> dict[str, int]:
        async with world(dsn) as w:
            await w.connection.execute(
                "INSERT INTO run (id, name, template, fields, class, priority, policy, lanes, not_before, created_at) "
                "VALUES (1, 'spring', 'Hi {{ name }}, 20 % off', '{name}', 5, 0, 'once', '{1}', $1, $1)", NOW,
            )  # fmt: skip
            await w.connection.execute(
                "INSERT INTO chunk (lane, id, run, n, class, priority, not_before, state, sent_upto) "
                "VALUES ($1, 0, 1, 1, 5, 0, $2, 2, 1)", w.lane, NOW,
            )  # fmt: skip
            await w.connection.execute(
                "INSERT INTO chunk_payload (lane, chunk_id, run, msisdn, params) VALUES ($1, 0, 1, $2, $3)",
                w.lane, [NUMBER], [["Ada"]],
            )  # fmt: skip
            await w.was_sent("0", NUMBER)
            w.after(minutes=1)
            await w.writes("is it\x1b[31m still on?", NUMBER)
            await w.writes("hello", OTHER)
            await w.hears()
            await stops.enter(w.connection, [OTHER], ["*"], is_stop=True, at=w.now, source="complaint")
            return {str(number): (await w.conversation(number)).id for number in (NUMBER, OTHER)}

    return asyncio.run(work())


@pytest.mark.covers("S2.4", "S4.60")
def test_in_1_a_conversation_shows_the_campaign_it_answers_and_who_waits(dsn: str, config: Path) -> None:
    ids = heard(dsn)
    code, output = run(dsn, config, "list")
    assert code == 0 and len(output.splitlines()) == 2 and f"+{NUMBER}" in output and "anna" in output
    code, output = run(dsn, config, "show", f"+{NUMBER}")
    assert code == 0
    lines = output.splitlines()
    assert "Hi Ada, 20 % off" in lines[1] and "(0)" in lines[1], "the campaign's message is in the thread"
    assert "they" in lines[2] and "still on?" in lines[2] and "\x1b" not in output
    code, output = run(dsn, config, "show", str(ids[str(NUMBER)]), "--json")
    assert code == 0 and [one["who"] for one in json.loads(output)["said"]] == ["sluice", "they"]
    code, output = run(dsn, config, "unanswered")
    assert code == 1 and "2 wait for an answer, 2 of them longer than they should" in output


def test_in_8_who_is_stopped_is_refused_with_the_reason_and_others_are_answered(dsn: str, config: Path) -> None:
    ids = heard(dsn)
    code, output = run(dsn, config, "reply", str(ids[str(OTHER)]), "hi", "--as", "anna")
    assert code == 65 and "they are not written to: complaint, since 2026-03-02" in output
    code, output = run(dsn, config, "show", str(ids[str(OTHER)]))
    assert "not to be written to: complaint" in output
    code, output = run(dsn, config, "reply", str(ids[str(NUMBER)]), "It is", "--as", "anna")
    assert (code, output) == (0, f"queued for +{NUMBER} from 12345\n")
    code, output = run(dsn, config, "show", f"+{NUMBER}")
    assert "anna  It is" in output and "what is promotional waits until this is closed" in output


def test_in_4_a_conversation_is_assigned_noted_snoozed_returned_and_closed(dsn: str, config: Path) -> None:
    id_ = str(heard(dsn)[str(NUMBER)])
    assert run(dsn, config, "assign", id_, "bert") == (0, f"{id_} is bert's\n")
    assert run(dsn, config, "assign", id_, "zoe")[0] == 65
    assert run(dsn, config, "assign", id_) == (0, f"{id_} is nobody's\n")
    assert run(dsn, config, "note", id_, "calls back") == (0, f"noted in {id_}\n")
    assert run(dsn, config, "snooze", id_, "--for", "2h")[0] == 0
    assert run(dsn, config, "return", id_)[0] == 0
    assert run(dsn, config, "close", id_) == (0, f"{id_} is closed\n")
    assert run(dsn, config, "show", id_)[1].splitlines()[0].split("  ")[3] == "closed"


def test_what_names_no_conversation_is_refused(dsn: str, config: Path) -> None:
    heard(dsn)
    assert run(dsn, config, "show", "5")[0] == 65
    assert run(dsn, config, "show", "+447700900999")[0] == 65
    assert run(dsn, config, "close", "5")[0] == 65
