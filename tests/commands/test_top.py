"""`sluice top`: one picture of all workers, as a document and for a person."""

import json
import signal
from datetime import UTC, datetime, timedelta

from rich.console import Console

from gateway.commands.status import Standing
from gateway.commands.top import picture, shown
from gateway.store.control import Order
from gateway.store.runs import Worker

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def account(**changed):
    return {
        "rate_per_s": 100, "sent_per_s": 90.0, "limit_per_s": 120, "ceiling_per_s": None, "window": 10,
        "pacing": "bucket", "p50_ms": 5.0, "p99_ms": 20.0, "throttled_share": 0.0, "bound_by": {},
        "verdict": "rate-bound: it sends what the limit allows", "reasons": ["rate 100/s (steady)"], **changed,
    }  # fmt: skip


def bind(name, **changed):
    return {
        "name": name, "kind": "bind_transceiver", "host": "a:1", "phase": "bound", "in_flight": 4, "window": 10,
        "bound_by": "rate", "last_error": "", "alarm": "", "sent_per_s": 45.0, **changed,
    }  # fmt: skip


def carrier(**changed):
    receipts = {"heard": 100, "matched": 99, "p50_ms": 800.0, "p99_ms": 3000.0}
    return {
        "up": True, "account": account(), "receipts": receipts, "trouble": "", "alarm": "",
        "control": {"stands": "", "tuned": {}, "trouble": ""}, "statuses": {"RINVDSTADR": 3},
        "binds": [bind("acme#1")], **changed,
    }  # fmt: skip


def worker(name, trouble="", **carriers):
    report = {"carriers": carriers, "control": {"orders": [], "trouble": trouble}}
    return Worker(
        instance=name, host="here", boot="", pid=1, started_at=NOW, seen_at=NOW - timedelta(seconds=1),
        report=json.dumps(report),
    )  # fmt: skip


def standing(*workers, **more):
    return Standing(at=NOW, workers=list(workers), alive=frozenset(one.instance for one in workers), **more)


def text_of(document):
    console = Console(width=200, highlight=False)
    with console.capture() as captured:
        console.print(shown(document), soft_wrap=True)
    return captured.get()


def test_rates_of_several_workers_are_summed_and_times_are_the_worst():
    other = carrier(account=account(p99_ms=250.0, p50_ms=None, sent_per_s=30.0, throttled_share=0.2))
    acme = picture(standing(worker("one", acme=carrier()), worker("two", acme=other)))["carriers"]["acme"]
    assert (acme["sent_per_s"], acme["rate_per_s"], acme["limit_per_s"]) == (120.0, 200, 240)
    assert (acme["p50_ms"], acme["p99_ms"], acme["throttled_share"]) == (5.0, 250.0, 0.05)
    assert (acme["in_flight"], acme["window"], len(acme["binds"])) == (8, 20, 2)
    assert acme["statuses"] == {"RINVDSTADR": 6} and acme["receipts"]["match_rate"] == 0.99


def test_worker_that_is_gone_counts_for_nothing():
    gone = Standing(at=NOW, workers=[worker("one", acme=carrier())], alive=frozenset())
    document = picture(gone)
    assert document["carriers"] == {} and "no worker runs" in text_of(document)


def test_queue_is_told_by_class_and_age_though_no_worker_serves_it():
    queue = {"lane": 1, "class": 0, "chunks": 1, "positions": 7, "oldest": NOW - timedelta(minutes=3)}
    document = picture(standing(queues=[queue], names={1: "acme"}))
    assert document["carriers"]["acme"]["queue"] == [{"class": "otp", "messages": 7, "oldest_s": 180.0}]
    assert "queue acme otp: 7, the oldest 3m" in text_of(document)


def test_person_sees_what_stands_why_and_what_is_wrong():
    order = Order(
        id=1, at=NOW, by="ann@here", action="pause", scope="carrier", key="acme", until=None, reason="asked\x1b[2J"
    )
    told = carrier(
        control={"stands": "paused", "tuned": {"tps": 500}, "trouble": ""},
        binds=[bind("acme#1", phase="down", last_error="refused \x1b[2J", alarm=""), bind("acme#2", alarm="half-dead")],
    )
    text = text_of(picture(standing(worker("one", "orders were not read for 9 s", acme=told), orders=[order])))
    for said in (
        "carrier acme: paused since 2026-11-22 12:00:00 UTC by ann@here: asked\\x1b[2J", "half-dead",
        "down: refused \\x1b[2J", "tuned: tps = 500", "RINVDSTADR 3", "rate-bound: it sends what the limit allows",
        "orders were not read for 9 s", "99.00%", "rate 100/s (steady)",
    ):  # fmt: skip
        assert said in text, said
    assert "\x1b[2J" not in text


def test_running_worker_is_seen_once_and_again_and_again(sluice, start, queue, people):
    start("run", "--carrier", "north", "--report-every", "0").says("running")
    sluice("send", "--contacts", people(20), "--text", "hello", "--carrier", "north", "--detach")
    while not (document := sluice("top", "--once", "--json").json)["carriers"]["north"]["receipts"]["heard"]:
        pass
    north = document["carriers"]["north"]
    assert north["up"] and north["binds"][0]["phase"] == "bound" and north["receipts"]["match_rate"] == 1.0
    assert "north" in sluice("top").out
    live = start("top", "--json", "--interval", "0.1")
    assert [json.loads(live.process.stdout.readline())["carriers"].keys() for _ in range(3)] == [{"north"}] * 3
    live.process.send_signal(signal.SIGINT)
    assert live.process.wait(10) == 0


def test_without_a_database_there_is_nothing_to_see(sluice, settings, tmp_path):
    result = sluice("top", "--once")
    assert result.code == 75 and "no database in" in result.err
    assert not (tmp_path / "home").exists()
