"""What Prometheus reads is what the counters say; the alerts and the dashboard name nothing that is not there."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway import app, metrics
from gateway.errors import ConfigError, StoreError
from gateway.metrics import CATALOGUE, Metrics, Queued, queued_of
from gateway.simulator.behaviour import Receipts, Responses
from gateway.store.enrolments import Lag
from tests.fixtures.campaign import numbers
from tests.fixtures.engine import engine, only_lane, until

EXAMPLES = Path(__file__).parents[1] / "examples"
SERIES = {series for metric in CATALOGUE for series in metric.series}


async def nothing_waits():
    return Queued()


async def asked(address, request=b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"):
    """Ask once; -> (status line, body)."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    async with asyncio.timeout(10):
        octets = await reader.read()
    writer.close()
    head, _, body = octets.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0].decode(), body.decode()


def samples(text):
    """(name, {label: value}) -> value."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found, name, **labels):
    return found[name, tuple(sorted({"carrier": "acme", **labels}.items()))]


async def test_every_counter_of_a_run_is_read_over_http(dsn, tmp_path):
    responses = Responses(delay_ms=1, errors={"RINVDSTADR": 0.1})
    async with engine(dsn, tmp_path / "l.csv", responses=responses, receipts=Receipts(delay_ms=1)) as e:
        run = await e.run(numbers(500), template="x" * 400)
        worker = await e.start()
        await e.ends(run)
        ledger = only_lane(worker).carrier.ledger
        async with metrics.serve("127.0.0.1:0", worker, app.CLOCK.monotonic, nothing_waits) as address:
            status, text = await asked(address)
        assert status == "HTTP/1.1 200 OK"
        found = samples(text)
        assert value(found, "sluice_submits_total") == ledger.submitted
        # Parts of a message of which another was rejected do not leave.
        assert ledger.submitted + ledger.refused == 1500
        assert value(found, "sluice_accepted_total") == ledger.accepted
        assert value(found, "sluice_errors_total", status="ESME_RINVDSTADR") == ledger.rejected > 0
        assert value(found, "sluice_response_seconds_count") == ledger.responses
        assert value(found, "sluice_response_seconds_bucket", le="+Inf") == ledger.responses
        assert ledger.responses * 0.001 < value(found, "sluice_response_seconds_sum") < ledger.responses * 10
        assert value(found, "sluice_receipts_matched_total") == ledger.accepted
        assert value(found, "sluice_receipts_total", state="delivered") == ledger.accepted
        assert (value(found, "sluice_parts_bucket", le="2"), value(found, "sluice_parts_bucket", le="3")) == (0, 500)
        assert value(found, "sluice_parts_sum") == 1500
        assert value(found, "sluice_bind_up", bind="acme#1") == value(found, "sluice_carrier_up") == 1
        assert value(found, "sluice_bind_phase", bind="acme#1", phase="bound") == 1
        assert value(found, "sluice_bind_alarm", bind="acme#1") == 0


async def test_buckets_never_fall_and_every_metric_of_the_catalogue_is_there(dsn, tmp_path):
    async with engine(dsn, tmp_path / "l.csv") as e:
        run = await e.run(numbers(200))
        worker = await e.start()
        await e.ends(run)
        door = Metrics(lambda: worker.lanes, app.CLOCK.monotonic, nothing_waits, feed=worker.feed)
        door.watch.look(worker.lanes, 0.1)
        text = (await door.text()).decode()
        names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
        # The text form of counters carries their ending in its TYPE line.
        assert {name.removesuffix("_total") for name in names} == {metric.name for metric in CATALOGUE}
        buckets: dict = {}
        for (name, labels), count in samples(text).items():
            if name.endswith("_bucket"):
                edge = float(dict(labels)["le"])
                buckets.setdefault((name, tuple(x for x in labels if x[0] != "le")), []).append((edge, count))
        assert len(buckets) == 4
        for rows in buckets.values():
            counts = [count for _, count in sorted(rows)]
            assert counts == sorted(counts)


async def test_window_and_what_holds_a_bind_back_are_looked_at(dsn, tmp_path):
    async with engine(dsn, tmp_path / "l.csv", responses=Responses(delay_ms=60_000)) as e:
        e.carrier_settings = {"window": 10, "response_timeout_s": 60.0}
        await e.run(numbers(50))
        worker = await e.start()
        await until(lambda: only_lane(worker).carrier.in_flight == 10, "the window is full")
        door = Metrics(lambda: worker.lanes, app.CLOCK.monotonic, nothing_waits)
        for _ in range(5):
            door.watch.look(worker.lanes, 0.1)
        only_lane(worker).carrier.binds[0].alarm = "somebody look"
        found = samples((await door.text()).decode())
        assert value(found, "sluice_bind_alarm", bind="acme#1") == 1
        assert value(found, "sluice_window_use_bucket", bind="acme#1", le="0.99") == 0
        assert value(found, "sluice_window_use_count", bind="acme#1") == 5
        assert value(found, "sluice_bound_by_seconds_total", bind="acme#1", by="window") == pytest.approx(0.5)
        for lane in worker.lanes:
            for bind in lane.carrier.binds:
                bind.link.abort("the test is over")


async def test_what_waits_is_asked_for_only_while_somebody_reads_and_not_too_often():
    asked_times, now = [], [100.0]

    async def ask():
        asked_times.append(now[0])
        if len(asked_times) == 3:
            raise StoreError("away", retryable=True)
        return Queued({("acme", "otp"): 7}, {("acme", "otp"): 1.5}, {("cart", "texts"): (3, 90.0)})

    door = Metrics(lambda: (), lambda: now[0], ask)
    for at in (100.0, 101.0, 104.9, 105.0, 111.0):
        now[0] = at
        text = (await door.text()).decode()
        # Unknown while Postgres is away, and not 0.
        assert ('sluice_queue_messages{carrier="acme",class="otp"} 7.0' in text) == (at < 111.0)
        assert ('sluice_campaign_waiting{campaign="cart",what="texts"} 3.0' in text) == (at < 111.0)
        assert ('sluice_campaign_age_seconds{campaign="cart",what="texts"} 90.0' in text) == (at < 111.0)
    assert asked_times == [100.0, 105.0, 111.0]


def test_queue_is_told_by_the_names_of_carriers_and_classes():
    now = datetime(2026, 3, 1, tzinfo=UTC)
    rows = [
        {"lane": 1, "class": 0, "positions": 5, "oldest": now - timedelta(seconds=30)},
        {"lane": 9, "class": 5, "positions": 6, "oldest": now + timedelta(seconds=30)},
    ]
    lags = [Lag(campaign="cart", what="people", waiting=3, since=now - timedelta(seconds=90))]
    queued = queued_of(rows, {1: "acme"}, now, lags)
    assert queued.campaigns == {("cart", "people"): (3, 90.0)}
    assert queued.messages == {("acme", "otp"): 5, ("9", "bulk"): 6}
    assert queued.age_s == {("acme", "otp"): 30.0, ("9", "bulk"): 0.0}


class Idle:
    """A worker that serves nobody."""

    feed = None
    lanes = ()
    guards = SimpleNamespace(report=lambda: {"alarms": {}, "resident": 0, "clock_jumps": 0})


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"),
        (b"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found"),
        (b"\xff\r\n\r\n", "HTTP/1.1 404 Not Found"),
        (b"GET /metrics HTTP/1.1\r\nx: " + b"y" * 20_000 + b"\r\n\r\n", ""),
    ],
)
async def test_request_is_answered_or_the_connection_is_closed(request_, status):
    async with metrics.serve("127.0.0.1:0", Idle(), app.CLOCK.monotonic, nothing_waits) as address:
        try:
            found, body = await asked(address, request_)
        except ConnectionError:
            found, body = "", ""
    assert found == status
    assert ("# TYPE" in body) == (request_.startswith(b"GET") and "200" in status)


async def test_address_that_is_taken_is_a_wrong_setting():
    async with metrics.serve("127.0.0.1:0", Idle(), app.CLOCK.monotonic, nothing_waits) as address:
        with pytest.raises(
            ConfigError, match="worker.metrics_listen: expected an address of this machine that is free"
        ):
            async with metrics.serve(address, Idle(), app.CLOCK.monotonic, nothing_waits):
                pass


async def test_worker_of_the_settings_opens_and_closes_the_door(dsn, tmp_path):
    async with engine(dsn, tmp_path / "l.csv") as e:
        settings = e.settings()
        async with metrics.serve("127.0.0.1:0", Idle(), app.CLOCK.monotonic, nothing_waits) as free:
            pass
        worker_settings = msgspec.structs.replace(settings.worker, metrics_listen=free)
        settings = msgspec.structs.replace(settings, worker=worker_settings)
        await e.run(numbers(10))
        async with app.open_database(settings) as database, app.open_worker(settings, database) as worker:
            await until(lambda: only_lane(worker).carrier.ledger.accepted == 10, "all are sent")
            status, text = await asked(free)
            assert status.endswith("200 OK") and value(samples(text), "sluice_submits_total") == 10
        with pytest.raises(OSError):
            await asked(free)


def test_every_name_of_the_alerts_and_of_the_dashboard_is_a_metric():
    for path in (EXAMPLES / "prometheus/alerts.yml", EXAMPLES / "grafana/sluice.json"):
        named = set(re.findall(r"\bsluice_[a-z_]+", path.read_text()))
        assert len(named) > 10
        assert named - SERIES == set(), path


def test_dashboard_is_a_dashboard():
    dashboard = json.loads((EXAMPLES / "grafana/sluice.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) >= 12
    assert all(target["expr"] and target["legendFormat"] for panel in panels for target in panel["targets"])
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)


def test_every_alert_has_a_condition_and_a_sentence():
    text = (EXAMPLES / "prometheus/alerts.yml").read_text()
    alerts = re.findall(r"- alert: (\w+)", text)
    assert len(set(alerts)) == len(alerts) == text.count("expr:") == text.count("summary:") >= 10


async def test_quirk_40_receipts_that_come_at_once_are_seen_by_their_median_delay(dsn, tmp_path):
    """A route that knows nothing says DELIVRD in the moment of the response."""
    for delay_ms, is_suspicious in ((0, True), (400, False)):
        async with engine(dsn, tmp_path / f"{delay_ms}.csv", receipts=Receipts(delay_ms=delay_ms)) as e:
            run = await e.run(numbers(300))
            worker = await e.start()
            await e.ends(run)
            door = Metrics(lambda worker=worker: worker.lanes, app.CLOCK.monotonic, nothing_waits)
            found = samples((await door.text()).decode())
            assert (value(found, "sluice_receipt_median_seconds") < 0.2) == is_suspicious
            report = json.loads(worker.report())["carriers"]["acme"]["receipts"]
            assert (report["p50_ms"] < 200) == is_suspicious
    rule = (EXAMPLES / "prometheus/alerts.yml").read_text().partition("SluiceReceiptsTooSoon")[2]
    assert "sluice_receipt_seconds_bucket" in rule.partition("- alert")[0] and "< 0.2" in rule.partition("- alert")[0]
