"""What a worker tells of itself: all that others read of it, and what is worth telling at once."""

import json
from pathlib import Path

from gateway.dispatch import report as rooms
from gateway.dispatch.report import Report
from tests.fixtures.campaign import numbers
from tests.fixtures.engine import engine, only_lane, until


async def test_report_tells_of_each_carrier_and_of_orders_guards_and_stops(dsn: str, tmp_path: Path) -> None:
    async with engine(dsn, tmp_path / "ledger.csv") as e:
        run = await e.run(numbers(40))
        worker = await e.start()
        await e.ends(run)
        told = json.loads(worker.report())
        assert told.keys() >= {"carriers", "control", "guards", "stops"}
        acme = told["carriers"]["acme"]
        assert acme["up"] and acme["claimed"] == acme["in_flight"] == 0 and acme["trouble"] == ""
        assert acme["receipts"]["matched"] == only_lane(worker).receipts_matched
        assert [bind["sent_per_s"] >= 0 for bind in acme["binds"]] == [True] * len(only_lane(worker).carrier.binds)
        assert "queries" not in acme


async def test_gist_changes_with_a_bind_and_with_nothing_that_only_counts(dsn: str, tmp_path: Path) -> None:
    async with engine(dsn, tmp_path / "ledger.csv") as e:
        worker = await e.start()
        await until(lambda: worker.is_up, "it is bound")
        lane = only_lane(worker)
        report = Report([lane], worker._clock, worker.control, worker.guards, worker.slots, worker.feed)
        bound = report.gist()
        run = await e.run(numbers(20))
        await e.ends(run)
        assert report.gist() == bound
        await lane.carrier.stop()
        assert report.gist() != bound


class Moments:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_rate_is_that_since_the_last_report_and_a_new_link_begins_anew() -> None:
    class Link:
        submitted = 10

    class Bind:
        name, link = "acme#1", Link()

    clock = Moments()
    report = Report([], clock, None, None, None, None)  # type: ignore[arg-type]
    bind = Bind()
    assert report._rate_of(bind) == 0.0  # type: ignore[arg-type]
    clock.now += 2.0
    bind.link.submitted = 50
    assert report._rate_of(bind) == 20.0  # type: ignore[arg-type]
    clock.now += rooms.SPAN_S / 2
    bind.link.submitted = 60
    assert report._rate_of(bind) == 20.0, "too soon for another figure"  # type: ignore[arg-type]
    bind.link.submitted = 3
    assert report._rate_of(bind) == 0.0, "another link has sent less"  # type: ignore[arg-type]
