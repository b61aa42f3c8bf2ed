"""`sluice send` as a process: strange files, refusals, carriers in trouble, and the report at the end."""

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys

import pytest

from tests.commands.conftest import PATIENCE_S, RIGHT, WRONG

TEXT = 'Hi {{ first_name|default("there") }}'


def states(result):
    return {state: count for state, count in result.json["states"].items() if count}


@pytest.mark.parametrize(
    ("octets", "options", "expected"),
    [
        (b"\xef\xbb\xbfphone;first_name\r\n+447911123401;Zo\xc3\xab\r\n", (), {"sent": 1}),
        ("phone\tfirst_name\n+447911123401\tJosé\n".encode("latin-1"), (), {"sent": 1}),
        ("phone,first_name\n+447911123401,Ann\n+44 7911 123401,Ann\n", (), {"sent": 1, "duplicates": 1}),
        ("phone\n07911 123401\n(07911) 123402\n", ("--region", "GB"), {"sent": 2}),
        ("phone\n07911 123401\n+447911123402\n", (), {"sent": 1, "refused": 1}),
        ('phone,x\n4.479E+11,a\n447911123401.0,b\n"\'+447911123402",c\n', (), {"sent": 2, "refused": 1}),
        ("+447911123401;Ann\n+447911123402;Bob\n", (), {"sent": 2}),
        ("a|b\n+447911123401|1\n", ("--number-column", "a", "--delimiter", "bar"), {"sent": 1}),
        ("a\tb\n+447911123401\t1\n", ("--delimiter", "tab"), {"sent": 1}),
        (gzip.compress(b"phone\n+447911123401\n", mtime=0), (), {"sent": 1}),
        ("phone\r\n+447911123401\r\n\r\n,\r\n".encode("utf-16"), (), {"sent": 1}),
    ],
)
def test_dry_run_reads_files_as_customers_have_them(here, settings, people, octets, options, expected):
    arguments = ("--contacts", people(octets), "--text", "hello", "--carrier", "north", "--dry-run", "--json")
    # The database is away: a dry run does not ask for it.
    result = here("send", *arguments, *options, "--dsn", "postgresql://x@127.0.0.1:1/x")
    assert result.code == 0
    assert {key: result.json[key] for key in expected} == expected


def test_dry_run_says_what_is_wrong_and_hides_the_numbers(here, settings, people):
    file = people("phone\n+447911123401\n+44791\nn/a\n+447911123401\n")
    result = here("send", "--contacts", file, "--text", "hello", "--carrier", "north", "--dry-run")
    assert (
        "would send  1" in result.out and "too_short: 1" in result.out and "line 5: the number of line 2" in result.out
    )
    assert "7911123401" not in result.out


def test_file_goes_to_its_last_receipt(sluice, queue, people):
    result = sluice("send", "--contacts", people(25), "--text", TEXT, "--carrier", "north", "--json")
    assert (result.code, states(result)) == (0, {"delivered": 25})
    assert set(result.json) == {
        "run",
        "name",
        "recipients",
        "states",
        "reasons",
        "segments",
        "rate_per_s",
        "lanes",
        "late_conflicts",
        "parts_needed",
        "cancelled",
        "skipped",
        "bypass",
        "data",
    }
    assert result.json["name"] == "people.csv" and result.json["lanes"][0]["carrier"] == "north"
    assert "would send  25" in result.err and "enqueued" in result.err
    assert queue("SELECT count(*) FROM worker") == [(0,)]


def test_report_for_a_person_names_states_and_carriers(sluice, queue, people):
    result = sluice("send", "--contacts", people(5), "--text", TEXT, "--carrier", "south", "--name", "[bold]win[/x]")
    assert result.code == 0
    lines = [line.split() for line in result.out.splitlines()]
    assert ["delivered", "5", "5"] in lines and ["messages", "5", "5"] in lines and ["south", "all"] in lines
    assert "[bold]win[/x]" in result.out


def test_several_carriers_share_by_weight(sluice, queue, settings, people):
    settings(north={"weight": 3})
    file = people("phone\n" + "".join(f"+4479111{n:05}\n" for n in range(10_000, 10_400)))
    result = sluice("send", "--contacts", file, "--text", TEXT, "--carrier", "north", "--carrier", "south", "--json")
    share = {lane["carrier"]: sum(lane["states"].values()) for lane in result.json["lanes"]}
    assert sum(share.values()) == 400 and states(result) == {"delivered": 400}
    assert 250 < share["north"] < 350


def test_same_text_to_the_same_file_goes_again_only_when_asked(sluice, queue, people):
    arguments = ("send", "--contacts", people(3), "--text", TEXT, "--carrier", "north", "--detach")
    assert sluice(*arguments).code == 0
    refused = sluice(*arguments)
    assert refused.code == 65 and "already, as run" in refused.err and "--again" in refused.err
    assert sluice(*arguments, "--again").code == 0
    assert sluice(*arguments[:4], "another text", *arguments[5:]).code == 0
    assert queue("SELECT count(*), count(DISTINCT list) FROM run") == [(3, 1)]


def test_strict_sends_nothing_when_a_row_would_be_left_out(sluice, queue, people):
    file = people("phone\n+447911123401\nn/a\n")
    result = sluice("send", "--contacts", file, "--text", "x", "--carrier", "north", "--strict")
    assert result.code == 65 and "--strict" in result.err
    assert queue("SELECT count(*) FROM run") == [(0,)]


def test_detached_run_is_sent_by_a_worker_later(sluice, queue, people):
    result = sluice("send", "--contacts", people(10), "--text", TEXT, "--carrier", "north", "--detach", "--json")
    assert (result.code, states(result)) == (0, {"queued": 10})
    assert sluice("status", "--json").json["queues"][0]["messages"] == 10


@pytest.mark.parametrize("policy", ["once", "at_least_once", "ask"])
def test_policy_is_kept_with_the_run(sluice, queue, people, policy):
    sluice("send", "--contacts", people(1), "--text", "x", "--carrier", "north", "--policy", policy, "--detach")
    assert queue("SELECT policy FROM run") == [(policy,)]


@pytest.mark.parametrize(("policy", "expected"), [("worst", "undeliverable"), ("last", "delivered")])
def test_receipts_of_the_segments_make_the_state_by_the_policy_asked_for(sluice, queue, people, policy, expected):
    """The first segment is undeliverable, the others are delivered: what is told follows the policy."""
    text = "x" * 200
    arguments = ("--contacts", people(4), "--text", text, "--carrier", "north", "--receipts", policy, "--json")
    result = sluice("send", *arguments)
    assert (result.code, states(result)) == (0, {"delivered": 4})
    assert queue("SELECT receipt_policy FROM run") == [(policy,)]
    queue("UPDATE receipt SET state = 5 WHERE segment = 1 RETURNING segment")
    (run,) = sluice("status", "--json").json["runs"]
    assert run["states"] == {expected: 4}


def test_worker_that_runs_already_is_left_to_send(sluice, start, queue, people):
    worker = start("run", "--carrier", "north", "--report-every", "0")
    worker.says("running")
    result = sluice("send", "--contacts", people(4), "--text", TEXT, "--carrier", "north", "--json")
    assert result.code == 0 and "a worker runs already" in result.err and result.json["recipients"] == 4
    assert worker.ends().code == 0


def test_text_whose_column_is_not_there_is_refused(here, settings, people):
    result = here("send", "--contacts", people(1), "--text", "Hi {{ city }}", "--carrier", "north")
    assert result.code == 65 and "no column city" in result.err


def test_people_who_cannot_be_written_to_are_refused_with_reasons_and_others_get_it(sluice, queue, settings, people):
    settings(north={"alphabets": ["gsm7"], "max_parts": 1})
    rows = ("+447911123401,Ann", "+447911123402,", "+447911123403,😀", f"+447911123404,{'x' * 200}", "+447911123405,Bo")
    file = people("phone,first_name\n" + "\n".join(rows) + "\n")
    result = sluice("send", "--contacts", file, "--text", "Hi {{ first_name }}", "--carrier", "north", "--json")
    assert result.code == 0 and states(result) == {"delivered": 2, "refused": 3}
    assert result.json["reasons"] == {"missing_field": 1, "not_encodable": 1, "too_many_parts": 1}
    shown = sluice("status")
    assert "missing_field: a field of the text is empty and has no default" in shown.out
    assert "too_many_parts: longer than the carrier's max_parts; the longest needs 2" in shown.out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        ("Hi {{ first_name", "--text:"),
        ("Hi {% if x %}", "--text:"),
        ("x" * 20_000, "too_many_parts"),
        (b"caf\xe9", "UTF-8"),
    ],
)
def test_text_that_nobody_could_get_is_refused_at_once(here, settings, people, text, expected):
    result = here("send", "--contacts", people(1), "--text", text, "--carrier", "north")
    assert result.code == 65 and expected in result.err and len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "octets", "expected"),
    [
        ("none.csv", None, "no such file"),
        (".", None, "regular file"),
        ("fifo", "fifo", "regular file"),
        ("/dev/null", None, "regular file"),
        ("empty.csv", b"", "empty"),
        ("book.xlsx", b"PK\x03\x04rest", "export it as CSV"),
        ("noise.bin", bytes(range(32)) * 100, "not a text file"),
        ("text.csv", b"name,age\nAnn,5\n", "--number-column"),
        ("nobody.csv", b"phone\nn/a\n", "nobody to send to"),
    ],
)
def test_file_that_cannot_be_used_is_refused_in_a_sentence(here, settings, tmp_path, name, octets, expected):
    if octets == "fifo":
        os.mkfifo(tmp_path / name)
    elif octets is not None:
        (tmp_path / name).write_bytes(octets)
    result = here("send", "--contacts", name, "--text", "x", "--carrier", "north")
    assert result.code == 65 and expected in result.err.splitlines()[-1]


def test_file_whose_name_is_no_text_is_sent(sluice, queue, tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.csv")).write_text("phone\n+447911123401\n")
    result = sluice("send", "--contacts", b"caf\xe9.csv", "--text", "x", "--carrier", "north", "--detach", "--json")
    assert result.code == 0 and result.json["name"] == "caf\ufffd.csv"


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (("--carrier", "nort"), 78, "did you mean 'north'?"),
        (("--carrier", "north", "--dsn", "postgresql://u:dsn-s3cret@127.0.0.1:1/x"), 75, "postgres: connect"),
        (
            ("--carrier", "north", "--dsn", "postgresql://u:dsn-s3cret/x@127.0.0.1/x"),
            78,
            "--dsn: expected postgresql://",
        ),
        (("--carrier", "north", "--dsn", "host=h password=dsn-s3cret"), 78, "--dsn: expected postgresql://"),
        (("--carrier", "north", "--region", "UK"), 78, "GB"),
        (("--carrier", "north", "--encoding", "klingon"), 65, "klingon"),
        (("--carrier", "north", "--delimiter", "::"), 65, "delimiter"),
        (("--carrier", "north", "--number-column", "cell"), 65, "cell"),
        (("--carrier", "north", "--config", "none.toml"), 78, "none.toml: expected a readable file"),
        (("--carrier", "north", "--expires-after", "nan"), 2, "number of seconds"),
        (("--carrier", "north", "--expires-after", "inf"), 2, "range"),
        (("--carrier", "north", "--wait-receipts", "nan"), 2, "number of seconds"),
        (("--carrier", "north", "--policy", "twice"), 2, "twice"),
    ],
)
def test_wrong_option_is_named_with_its_own_exit_code(here, settings, people, options, code, expected):
    result = here("send", "--contacts", people(1), "--text", "x", *options)
    assert (result.code, expected in result.err) == (code, True), result.err


@pytest.mark.parametrize(
    ("carrier", "wrong", "reason"),
    [("guarded", {"password": WRONG}, "ESME_RINVPASWD"), ("nowhere", {}, "Errno")],
)
def test_carrier_in_trouble_holds_the_campaign_until_it_is_mended(
    sluice, start, queue, settings, people, ports, carrier, wrong, reason
):
    settings(**{carrier: wrong})
    sending = start("send", "--contacts", people(6), "--text", TEXT, "--carrier", carrier, "--json")
    assert reason in sending.says(f"waiting for {carrier}")
    binds = []
    while not any(binds):
        carriers = [worker["carriers"] for worker in sluice("status", "--json").json["workers"]]
        binds = [bind["last_error"] for each in carriers for bind in each.get(carrier, {"binds": []})["binds"]]
    assert reason in binds[0]
    assert reason in sluice("status").out
    stopped = sending.ends()
    assert stopped.code == 75 and states(stopped) == {"queued": 6} and "go on with `sluice run`" in stopped.err
    settings(**{carrier: {"password": RIGHT, "port": ports["guarded"], "system_id": "guard"}})
    worker = start("run", "--carrier", carrier, "--report-every", "0.05")
    worker.says("receipts 6")
    assert worker.ends().code == 0
    assert sluice("status", "--json").json["runs"][0]["states"] == {"delivered": 6}


def test_killed_database_is_waited_for_and_everybody_gets_the_message_once(
    sluice, start, settings, people, environment, data_root
):
    environment["SLUICE_HOME"] = str(data_root)
    arguments = ("--contacts", people(80), "--text", "x", "--carrier", "slow", "--wait-receipts", "5")
    sending = start("send", *arguments, "--json")
    sending.says("  0%")
    os.kill(int((data_root / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
    # Which of the lane's connections meets it first is chance.
    sending.says("! lane 1")
    result = sending.finishes()
    assert (result.code, states(result)) == (0, {"delivered": 80})


def test_expired_run_is_not_sent_and_says_so(sluice, start, queue, people):
    assert (
        sluice(
            "send", "--contacts", people(3), "--text", "x", "--carrier", "north", "--expires-after", "1", "--detach"
        ).code
        == 0
    )
    queue("UPDATE run SET expires_at = now() - interval '1 second'")
    worker = start("run", "--carrier", "north", "--report-every", "0.05")
    while sluice("status", "--json").json["runs"][0]["reasons"] != {"expired": 3}:
        assert worker.process.poll() is None
    assert worker.ends().code == 0


def test_reader_that_leaves_early_sees_no_traceback(settings, environment, people, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    arguments = ("--contacts", people(3), "--text", "x", "--carrier", "north", "--dry-run")
    process = subprocess.run(
        [sys.executable, "-m", "gateway", "send", *arguments],
        env=environment, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, timeout=PATIENCE_S,
    )  # fmt: skip
    os.close(writing)
    assert (process.returncode, process.stderr) == (1, b"")


def test_terminal_that_is_not_utf8_shows_what_it_can(sluice, settings, people):
    file = people("phone\n+44791\n+447911123401\n")
    result = sluice(
        "send", "--contacts", file, "--text", "x", "--carrier", "north", "--dry-run", PYTHONIOENCODING="ascii"
    )
    assert result.code == 0 and "would send  1" in result.out


def test_flash_and_ports_are_kept_with_the_run(sluice, queue, people):
    arguments = ("send", "--contacts", people(2), "--text", "00ff", "--carrier", "north", "--json")
    result = sluice(*arguments, "--flash", "--binary", "--ports", "2948:9200")
    assert (result.code, states(result)) == (0, {"delivered": 2})
    ((encoding,),) = queue("SELECT encoding::text FROM run")
    assert json.loads(encoding) == {"flash": True, "binary": True, "destination_port": 2948, "source_port": 9200}


@pytest.mark.parametrize("wanted", ["65536", "8/256", "a", "1:", "-1"])
def test_ports_that_are_none_are_refused(here, settings, people, wanted):
    arguments = ("--contacts", people(1), "--text", "x", "--carrier", "north", "--dry-run")
    result = here("send", *arguments, f"--ports={wanted}")
    assert result.code == 65 and "--ports: expected TO" in result.err


def test_text_with_too_many_parts_is_refused_with_their_count(here, settings, people):
    result = here("send", "--contacts", people(1), "--text", "x" * 2000, "--carrier", "north", "--dry-run")
    assert result.code == 65 and "(14 parts, at most 10)" in result.err


def test_column_that_a_carrier_requires_is_asked_for_and_sent(sluice, queue, settings, people):
    settings(north={"tlvs": [{"tag": 0x1400, "field": "entity", "required": True}]})
    arguments = ("--text", "hello", "--carrier", "north", "--json")
    result = sluice("send", "--contacts", people("phone\n+447911123401\n"), *arguments)
    assert result.code == 65 and "no column entity, which the carrier requires" in result.err
    result = sluice("send", "--contacts", people("phone,entity\n+447911123401,e1\n+447911123402,\n"), *arguments)
    assert (result.code, states(result)) == (0, {"delivered": 1, "refused": 1})
    assert result.json["reasons"] == {"missing_field": 1}


def test_nothing_is_enqueued_while_history_is_missing_and_it_goes_on_by_the_order(
    sluice, start, queue, eventually, environment, people, tmp_path
):
    """Faults 77 and 78: a worker of this data root was acknowledged more than the server knows, and none runs now."""
    send = ("send", "--contacts", people(3), "--text", "Hi", "--carrier", "north")
    sluice("migrate")
    ((system, timeline, lsn),) = queue(
        "SELECT (SELECT system_identifier FROM pg_control_system()), "
        "substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8), (pg_current_wal_flush_lsn() - '0/0')::bigint"
    )
    known = {"system": system, "timeline": timeline, "lsn": lsn + (1 << 40)}
    name = hashlib.sha256(environment["SLUICE_DSN"].encode()).hexdigest()[:12]
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / f"standing-{name}.json").write_text(json.dumps(known))
    for options in ((), ("--detach",)):
        refused = sluice(*send, *options)
        assert refused.code == 75 and "the server is an older state of itself" in refused.err
        assert "nothing was enqueued: look at the carrier's figures" in refused.err
        assert "`sluice resume --after-failover`" in refused.err
    start("run")
    eventually("SELECT coalesce(bool_or(report::jsonb #> '{guards,alarms}' ? 'hold'), false) FROM worker")
    # Of another data root nothing is known but what the worker says.
    elsewhere = sluice(*send, "--detach", SLUICE_HOME=str(tmp_path / "elsewhere"))
    assert elsewhere.code == 75 and "older state of itself" in elsewhere.err and "nothing was enqueued" in elsewhere.err
    assert queue("SELECT count(*) FROM run") == [(0,)]
    assert sluice("resume", "--after-failover").code == 0
    eventually("SELECT bool_and(report::jsonb #> '{guards,alarms}' = '{}') FROM worker")
    assert sluice(*send, "--detach").code == 0
    eventually("SELECT count(*) = 3 FROM outcome")


def test_nothing_is_enqueued_where_the_disk_is_full(sluice, settings, people, environment, tmp_path):
    send = ("send", "--contacts", people(3), "--text", "Hi", "--carrier", "north", "--detach")
    result = sluice(*send, SLUICE__DATABASE__MIN_FREE_MB=str(1 << 30))
    assert result.code == 75
    assert "MB free (database.min_free_mb)" in result.err and "nothing was enqueued: make room" in result.err
    assert sluice("status", "--json").json["runs"] == []
    assert sluice(*send).code == 0
