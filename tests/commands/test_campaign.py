"""The progress and the report of a run; and `sluice campaign`, as a person meets it."""

import asyncio
import io
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

from gateway.__main__ import main
from gateway.commands import _campaign
from gateway.commands._campaign import LaneReport, Progress, RunReport, print_report, reason_of, report_as_text
from gateway.person import hash_of
from gateway.store import postgres


class Ledger:
    """Counters as a carrier keeps them."""

    submitted = 1500

    def counts(self):
        """As the compiled one."""
        states = [0] * 12
        states[2], states[5] = 1200, 30
        return {"receipt_states": states, "throttled": 0, "rejected": 3, "refused": 2, "uncertain": 1}


class Carrier:
    """A carrier as the progress sees it."""

    window_size = 10

    def __init__(self, is_up):
        self.is_up = is_up
        self.in_flight = 4
        self.ledger = Ledger()


class Lane:
    """A lane as the progress sees it."""

    def __init__(self, name, is_up=True):
        self.name = name
        self.carrier = Carrier(is_up)


def report_of(carriers=("north", "south"), name="spring"):
    lanes = [
        LaneReport(
            carrier=carrier, states={"delivered": 90_000, "rejected": 2}, segments=120_000, rate_per_s=31_250.4,
            response_p50_ms=4.44, response_p99_ms=10.0, receipt_p50_ms=None, receipt_p99_ms=None,
        )
        for carrier in carriers
    ]  # fmt: skip
    return RunReport(
        run=5, name=name, recipients=180_010, states={"delivered": 180_000, "rejected": 4, "refused": 6},
        reasons={"missing_field": 6, "ESME_RINVDSTADR (0x0b)": 4}, segments=240_000, rate_per_s=None, lanes=lanes,
    )  # fmt: skip


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_report_fits_the_width_and_loses_no_column(width):
    carriers = ("north", "south", "a-carrier-with-a-long-name", "east")
    text = report_as_text(report_of(carriers), width)
    table = text.split("rejected and refused")[0]
    heads = [line for line in table.splitlines() if re.match(r"\s{10}.*\S", line)]
    assert " ".join(heads).split() == [*carriers, "all"]
    if width >= 60:
        assert max(map(len, table.splitlines())) <= width
    assert len(heads) == 1 or width < 200


def test_report_counts_every_state_and_says_why():
    text = report_as_text(report_of(), 80)
    lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    assert ["delivered", "90,000", "90,000", "180,000"] in lines
    assert ["refused", "0", "0", "6"] in lines
    assert ["messages", "90,002", "90,002", "180,010"] in lines
    assert ["response ms, p50 / p99", "4.4 / 10.0", "4.4 / 10.0"] in lines
    assert ["receipt ms, p50 / p99", "– / –", "– / –"] in lines
    assert ["6", "missing_field: a field of the text is empty and has no default"] in lines


def test_name_of_a_run_is_shown_and_never_obeyed():
    assert "run 5: [red]x[/]\\x1b[2J" in report_as_text(report_of(name="[red]x[/]\x1b[2J"), 80)


def test_program_reads_the_report_as_json(capsys):
    print_report(report_of(), as_json=True)
    assert msgspec.json.decode(capsys.readouterr().out, type=RunReport) == report_of()


def test_reasons_have_the_names_of_their_tables():
    assert [reason_of(status) for status in (-12, -99, 0x0B)] == ["missing_field", "-99", "ESME_RINVDSTADR (0x0b)"]


def test_progress_through_a_pipe_is_a_line_now_and_then_and_one_at_the_end(capsys):
    with Progress(3000) as progress:
        for _ in range(5):
            progress.show([Lane("north"), Lane("south", is_up=False)], 1500)
        progress.note("waiting for south: \x1b[31m")
        progress.show([Lane("north")], 9999, is_last=True)
    first, note, last = capsys.readouterr().err.splitlines()
    assert first.startswith(" 50%") and "sent 3,000 segments  delivered 2,400  failed 70  uncertain 2" in first
    assert first.endswith("window north 4/10 south down") and note == "waiting for south: \\x1b[31m"
    assert last.startswith("100%")


def test_progress_that_is_quiet_says_nothing(capsys):
    with Progress(10, quiet=True) as progress:
        progress.show([Lane("north")], 5, is_last=True)
        progress.note("waiting")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("width", [30, 60, 120])
def test_progress_on_a_terminal_stays_within_its_width(monkeypatch, width):
    screen = io.StringIO()
    made = lambda **_: Console(  # noqa: E731
        file=screen, force_terminal=True, width=width, height=20, color_system=None, _environ={"TERM": "xterm"}
    )
    monkeypatch.setattr(_campaign, "Console", made)
    with Progress(3000) as progress:
        progress.show([Lane("north"), Lane("south")], 1500)
        progress.note("waiting for [south]")
    drawn = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", screen.getvalue())
    assert "50%" in drawn and "waiting for" in drawn
    assert all(len(line) <= width for line in re.split(r"[\r\n]", drawn))


def test_progress_without_lanes_shows_nothing_sent(capsys):
    with Progress(0) as progress:
        progress.show([], 0)
    assert "sent 0 segments" in capsys.readouterr().err


# -- sluice campaign --------------------------------------------------------------------------------------------------

CONFIG = """
[carriers.acme]
host = "127.0.0.1"
port = 1
[brands.acme]
country = "GB"
"""
DOCUMENT = """
name = "c"
brand = "acme"
message = {text = "Hi"}
aim = "to greet"
[trigger]
on = "event"
event = "seen"
"""


def turn(dsn: str, folder: Path, *arguments: str) -> tuple[int, str]:
    config = folder / "sluice.toml"
    config.write_text(CONFIG)
    result = CliRunner().invoke(main, ["campaign", *arguments, "--dsn", dsn, "--config", str(config)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_campaign_is_applied_launched_paused_and_ended(dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(DOCUMENT)
    assert turn(dsn, tmp_path, "apply", str(file), "--check") == (0, "c: can be applied\n")
    assert turn(dsn, tmp_path, "apply", str(file)) == (0, "c: version 1, draft\n")
    assert turn(dsn, tmp_path, "apply", str(file)) == (0, "c: version 1, as before, draft\n")
    # What was never tried is said (S1.28).
    untried = (
        "? message.text: expected a test of exactly this text (`sluice campaign test c --to NUMBER`), found none\n"
    )
    assert turn(dsn, tmp_path, "launch", "c") == (0, untried + "c: live, version 1\n")
    file.write_text(DOCUMENT.replace("Hi", "Ho"))
    assert turn(dsn, tmp_path, "apply", str(file)) == (0, "c: version 2, live\n")
    assert "people enter version 1" in turn(dsn, tmp_path, "list")[1]
    assert turn(dsn, tmp_path, "pause", "c")[0] == 0
    code, output = turn(dsn, tmp_path, "pause", "c")
    assert code != 0
    assert "is paused: expected one that can become paused" in output
    assert turn(dsn, tmp_path, "resume", "c")[0] == turn(dsn, tmp_path, "stop", "c")[0] == 0
    told = json.loads(turn(dsn, tmp_path, "show", "c", "--json")[1])
    assert (told["state"], told["document"]["message"]["text"]) == ("ended", "Ho")
    assert told["goals"] == [] and "\nno goal: to greet\n" in turn(dsn, tmp_path, "show", "c")[1]
    assert turn(dsn, tmp_path, "clone", "c", "d") == (0, "d: version 1, draft\n")


CALLED = """
name = "code"
brand = "acme"
message = {text = "Call {{ call_id }}"}
aim = "to be asked"
[trigger]
on = "call"
"""


def asked(dsn: str, sql: str) -> list[tuple[Any, ...]]:
    async def ask() -> list[tuple[Any, ...]]:
        connection = await postgres.connect(dsn)
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            connection.terminate()

    return asyncio.run(ask())


def test_a_program_calls_a_campaign_for_a_number_once_for_each_id_TR_3(dsn: str, tmp_path: Path) -> None:
    """`sluice campaign enter`: what begins by a program (TR-1)."""
    asked(
        dsn,
        "INSERT INTO profile (bucket, id, number, created_at, updated_at) VALUES "
        f"({hash_of(447700900001)}, 1, 447700900001, now(), now())",
    )
    for name, text in (("code", CALLED), ("c", DOCUMENT)):
        (tmp_path / f"{name}.toml").write_text(text)
        assert turn(dsn, tmp_path, "apply", str(tmp_path / f"{name}.toml"))[0] == 0
    person = ("enter", "code", "+447700900001")
    code, output = turn(dsn, tmp_path, *person)
    assert code != 0 and "campaign 'code': expected one that is live, found draft" in output
    for name in ("code", "c"):
        assert turn(dsn, tmp_path, "launch", name)[0] == 0
    assert turn(dsn, tmp_path, *person, "--set", "call_id=17", "--id", "17") == (0, "code: called\n")
    assert turn(dsn, tmp_path, *person, "--set", "call_id=17", "--id", "17") == (0, "code: called\n")
    assert turn(dsn, tmp_path, *person) == (0, "code: called\n")
    told = asked(dsn, "SELECT kind, name, profile, told, properties::text FROM cause ORDER BY id")
    # The same id is the same cause, whoever decides about it; without one each call is its own.
    assert told[:2] == [("call", "code", 1, "call:17", '{"call_id": "17"}')] * 2
    assert told[2][4] == "{}" and told[2][3] not in ("call:17", "call:")
    for arguments, why in (
        (("code", "+447700900002"), "expected that of a person, found nobody who has it"),
        (("code", "+447700900001", "--set", "x"), "--set: expected PROPERTY=VALUE, found 'x'"),
        (("c", "+447700900001"), "campaign 'c': expected one that begins by a call"),
        (("nothing", "+447700900001"), "campaign 'nothing': expected one that is live, found none"),
    ):
        code, output = turn(dsn, tmp_path, "enter", *arguments)
        assert code != 0 and why in output, output
    assert len(asked(dsn, "SELECT 1 FROM cause")) == 3


def test_file_that_is_wrong_is_refused_with_all_its_places(dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(DOCUMENT.replace('event = "seen"', "").replace('aim = "to greet"', "goals = 3"))
    code, output = turn(dsn, tmp_path, "apply", str(file))
    assert code == 65
    assert "trigger.event: expected a value, found nothing" in output
    assert "goals: expected" in output
    file.write_text(DOCUMENT.replace('"acme"', '"other"'))
    code, output = turn(dsn, tmp_path, "apply", str(file))
    assert code == 65
    assert "brand: expected one of acme, found 'other'" in output
    assert turn(dsn, tmp_path, "list") == (0, "")
    assert turn(dsn, tmp_path, "show", "c")[0] == 65


@pytest.mark.covers("S4.68")
def test_what_a_campaign_is_for_comes_first(dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(DOCUMENT.replace('aim = "to greet"', 'goals = [{event = "order_placed", within = "7d"}]'))
    assert turn(dsn, tmp_path, "apply", str(file))[0] == turn(dsn, tmp_path, "launch", "c")[0] == 0
    lines = turn(dsn, tmp_path, "show", "c")[1].splitlines()
    assert lines[1].startswith("goal 1: event order_placed within 7d of submitted, since 20")


def test_who_waits_is_shown_with_when_the_first_of_them_goes_on(dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(DOCUMENT)
    turn(dsn, tmp_path, "apply", str(file))
    asked(
        dsn,
        "INSERT INTO enrolment (bucket, version, step, state, id, campaign, profile, endpoint, anchor_id, due_at, "
        "anchor_at, entered_at, step_at, cause, context) "
        "SELECT 1, 1, 0, 0, n, id, n, n, n, timestamptz '2026-03-03 09:00Z' + n * interval '1 hour', "
        "now(), now(), now(), n::text, '{}' FROM campaign, generate_series(1, 3) n RETURNING id",
    )
    assert "3  version 1, step 0: under way, the next at 2026-03-03 10:00 UTC\n" in turn(dsn, tmp_path, "show", "c")[1]


@pytest.mark.covers("S1.28")
def test_campaign_of_which_no_test_was_sent_is_launched_on_purpose_alone_where_the_brand_wants_one(
    dsn: str, tmp_path: Path
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(DOCUMENT)
    strict = CONFIG + 'untested = "enforce"\nfooter = "STOP to 1"\n'

    def act(*arguments: str, group: str = "campaign") -> tuple[int, str]:
        config = tmp_path / "sluice.toml"
        config.write_text(strict)
        result = CliRunner().invoke(main, [group, *arguments, "--dsn", dsn, "--config", str(config)])
        return result.exit_code, result.output

    act("apply", str(file))
    code, output = act("launch", "c")
    assert code == 65
    assert (
        "message.text: expected a test of exactly this text (`sluice campaign test c --to NUMBER`), found none"
        in output
    )
    assert act("test", "c", "--to", "+447700900100", "--carrier", "acme", "--detach")[0] == 65
    act("numbers", "add", "+447700900100", group="template")
    code, output = act("test", "c", "--to", "+447700900100", "--carrier", "acme", "--detach")
    assert code == 0 and "1 messages: 'Hi STOP to 1'" in output, output
    assert act("launch", "c") == (0, "c: live, version 1\n")
    # Another text, were it of another footer alone, was not tested.
    strict = strict.replace("STOP to 1", "STOP to 2")
    assert act("launch", "c")[0] == 65
    assert act("launch", "c", "--untested")[0] == 0
    assert "untested" in act(group="audit")[1] and "no test of message.text" in act(group="audit")[1]
