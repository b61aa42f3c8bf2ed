"""What a worker tells of itself: all that others read of it, and what is worth telling at once."""

import json
from pathlib import Path

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
        report = Report([lane], worker.control, worker.guards, worker.slots, worker.feed)
        bound = report.gist()
        run = await e.run(numbers(20))
        await e.ends(run)
        assert report.gist() == bound
        await lane.carrier.stop()
        assert report.gist() != bound


async def test_report_tells_the_rate_of_a_bind_and_of_its_account(dsn: str, tmp_path: Path) -> None:
    async with engine(dsn, tmp_path / "ledger.csv") as e:
        e.carrier_settings["tps"] = 100
        e.carrier_settings["adaptive"] = False
        worker = await e.start()
        run = await e.run(numbers(300))
        rates: list[tuple[float, float]] = []

        def is_told() -> bool:
            acme = json.loads(worker.report())["carriers"]["acme"]
            rates.append((acme["account"]["sent_per_s"], sum(bind["sent_per_s"] for bind in acme["binds"])))
            return all(50 < rate <= 110 for rate in rates[-1])

        await until(is_told, "what leaves over the one bind is what leaves over the account")
        assert max(account for account, _ in rates) <= 110, "the account's limit is never told to be passed"
        await e.ends(run)
