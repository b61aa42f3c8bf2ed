"""Numbers read: views and statements over a small world that is reckoned by hand."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from gateway.goal import Goal
from gateway.person import Item, Who
from gateway.reporting import ReportSettings
from gateway.store import conversions, months, postgres, reports, runs
from gateway.store.profiles import ingest

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
FIRST = 447700900100
SETTINGS = ReportSettings(currency="EUR")


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    await months.ensure(opened, "person_event", [NOW, NOW - 31 * DAY, NOW - 400 * DAY])
    yield opened
    await postgres.close(opened)


def of(person: int, name: str, at: datetime, event_id: str = "", **properties: Any) -> Item:
    ours = name not in ("order_placed", "order_cancelled", "refunded", "page", "visit")
    return Item(
        who=Who(phone=FIRST + person),
        name=name,
        occurred_at=at,
        event_id=event_id or f"{name}{person}{at}{properties}",
        source="sluice" if ours else "shop",
        properties=properties,
        is_ours=ours,
    )


def sent(person: int, at: datetime, run: int, chunk: int, *, arrives: bool = True) -> list[Item]:
    mark = {"campaign": "spring", "run": run}
    told = [of(person, "submitted", at, f"submitted:1:{chunk}:{person}", **mark)]
    return told + [of(person, "delivered", at + HOUR / 60, f"delivered:1:{chunk}:{person}", **mark)] * arrives


def order(person: int, at: datetime, number: int, total: int = 10) -> Item:
    return of(person, "order_placed", at, order_id=number, total=total, currency="EUR")


async def add_run(connection: Any, number: int, template: str = "see https://x.example") -> None:
    await connection.execute(
        "INSERT INTO run (id, name, template, fields, class, priority, policy, lanes, source, not_before, created_at, "
        "recipients) "
        "VALUES ($1, 'spring', $3, '{}', 5, 0, 'once', '{1}', 'vips', $2, $2, 5)",
        number,
        NOW - 9 * DAY,
        template,
    )


@pytest.mark.covers("S2.24", "S4.62", "S4.65", "S4.66", "S4.67", "S4.68", "S1.35")
async def test_a_campaign_s_numbers_are_those_of_a_count_by_hand(connection: Any) -> None:
    """Five people, two messages each of two runs: who clicked, wrote, left, bought, counts once."""
    lane = await runs.lane_of(connection, "acme", NOW)
    for run in (1, 2):
        await add_run(connection, run)
    told: list[Item] = []
    for person in range(5):
        told += sent(person, NOW - 5 * DAY, 1, 10, arrives=person != 4)
        told += sent(person, NOW - DAY, 2, 11)
    told += [
        of(0, "clicked", NOW - 5 * DAY + HOUR, campaign="spring", run=1),
        of(0, "clicked", NOW - DAY + HOUR, campaign="spring", run=2, verdict="human"),
        of(1, "clicked", NOW - DAY + HOUR, campaign="spring", run=2, verdict="bot"),
        of(2, "clicked", NOW - DAY + HOUR, campaign="spring", run=2, verdict="unsure"),
        of(1, "replied", NOW - DAY + HOUR, "replied:1:7", campaign="spring"),
        of(2, "replied", NOW - DAY + HOUR, "replied:1:8", campaign="spring", wish="stop"),
        of(2, "opted_out", NOW - DAY + HOUR, "stop:2", scope="*", source="keyword"),
        of(3, "coupon_issued", NOW - DAY, "issued", campaign="spring", run=2, code="TEN"),
        of(4, "coupon_issued", NOW - DAY, "issued4", campaign="spring", run=2, code="TWO"),
        of(3, "order_placed", NOW - HOUR, order_id=1, total=20, currency="EUR", coupon="ten"),
        order(0, NOW - 4 * DAY, 2),
        order(0, NOW - HOUR, 3),
        of(0, "refunded", NOW, order_id=3, amount=4, currency="EUR"),
    ]
    await ingest(connection, told, NOW, random.Random(1))
    await connection.execute(
        "INSERT INTO message_day (lane, country, status, day, run, messages, segments, state, is_excluded) VALUES "
        "($1, 231, 0, $2, 1, 4, 8, 0, false), ($1, 231, 0, $2, 1, 1, 2, 6, false), "
        "($1, 231, 0, $3, 2, 5, 10, 0, false), "
        "($1, 231, -30, $3, 2, 2, 0, 9, false), ($1, 231, 0, $3, 2, 9, 9, 0, true)",
        lane,
        (NOW - 5 * DAY).date(),
        (NOW - DAY).date(),
    )
    await conversions.declare(
        connection, "spring", [(Goal(event="order_placed"), None), (Goal(reply=True), None)], NOW - 9 * DAY
    )
    done = await reports.refresh(connection, SETTINGS, NOW)
    assert done.persons == 5 and done.is_whole
    [row] = await reports.rows(connection, "report_campaign", campaign="spring")
    wanted = {
        "attempted": 10,
        "accepted": 10,
        "delivered": 9,
        "undelivered": 1,
        "refused": 2,
        "parts": 20,
        "endpoints": 5,
        "delivered_endpoints": 5,
        "link_endpoints": 5,
        "clicked_endpoints": 1,
        "unsure_endpoints": 1,
        "replied_endpoints": 1,
        "opted_out_endpoints": 1,
        "delivered_cases": 9,
        "converted": 3,
        "goal_2": 1,
        "orders": 3,
        "codes_redeemed": 1,
        "codes_delivered": 2,
        "revenue_gross": 4000,
        "revenue_net": 3600,
    }
    assert {name: row[name] for name in wanted} == wanted
    assert (row["click_rate"], row["response_rate"], row["unsubscribe_rate"]) == (0.2, 0.2, 0.2)
    assert row["conversion_rate"] == 3 / 9 and row["redemption_rate"] == 0.5 and row["average_order_value"] == 1200
    days = await reports.rows(connection, "report_campaign_day", campaign="spring")
    assert [one["clicked_endpoints"] for one in days] == [1, 1] and sum(one["orders"] for one in days) == 3
    assert sum(one["delivered"] for one in days) == row["delivered"]
    by_run = await reports.rows(connection, "report_run", campaign="spring")
    assert [(one["run"], one["converted"], one["delivered_endpoints"]) for one in by_run] == [(1, 1, 4), (2, 2, 5)]
    [audience] = await reports.rows(connection, "report_audience", campaign="spring")
    assert audience["audience"] == "vips" and audience["orders"] == 3 and audience["attempted"] == 10
    [variant] = await reports.rows(connection, "report_variant", campaign="spring")
    assert variant["variant"] == "" and variant["delivered_endpoints"] == 5
    told_rules = [
        tuple(one.values())
        for one in await reports.ask(connection, "report_rules", "spring", date(1970, 1, 1), NOW.date())
    ]
    assert told_rules == [(1, 1, 2000), (2, 2, 1600)]
    assert (
        await reports.rows(connection, "report_campaign_day", campaign="spring", until=(NOW - 2 * DAY).date())
        == days[:1]
    )
    # Nothing new, and all of it once more: nobody is counted, and nothing changes (RP-1).
    # What was told in the last minutes before is looked at once more, for it may have been committed late.
    assert (await reports.refresh(connection, SETTINGS, NOW + DAY)).persons == 5
    assert (await reports.refresh(connection, SETTINGS, NOW + 2 * DAY)).persons == 0
    assert (await reports.refresh(connection, SETTINGS, NOW + 2 * DAY, whole=True)).persons == 5
    [again] = await reports.rows(connection, "report_campaign", campaign="spring")
    assert {name: again[name] for name in row if name not in ("attempted", "accepted", "delivered", "parts")} == {
        name: row[name] for name in row if name not in ("attempted", "accepted", "delivered", "parts")
    }


async def test_another_zone_counts_days_anew(connection: Any) -> None:
    await runs.lane_of(connection, "acme", NOW)
    await add_run(connection, 1)
    await ingest(connection, sent(0, NOW.replace(hour=23, minute=30) - DAY, 1, 10), NOW, random.Random(1))
    await reports.refresh(connection, SETTINGS, NOW)
    assert await connection.fetchval("SELECT day FROM touch") == (NOW - DAY).date()
    done = await reports.refresh(connection, ReportSettings(currency="EUR", zone="Asia/Tokyo"), NOW)
    assert done.is_whole and await connection.fetchval("SELECT day FROM touch") == NOW.date()
    assert await reports.as_of(connection) == NOW


@pytest.mark.covers("S1.2", "S2.31", "S4.70", "S4.72")
async def test_months_and_cohorts_are_those_of_a_count_by_hand(connection: Any) -> None:
    orders = {
        0: ("2026-01-05", "2026-02-05", "2026-03-05"),
        1: ("2026-01-09",),
        2: ("2026-01-10", "2026-03-10"),
        3: ("2026-02-20",) * 2,
    }
    told = [
        order(person, datetime.fromisoformat(f"{day}T10:00:00+00:00") + number * HOUR, 10 * person + number)
        for person, days in orders.items()
        for number, day in enumerate(days)
    ]
    told.append(order(1, NOW - DAY, 99))
    told.append(of(1, "order_cancelled", NOW, order_id=99))
    await ingest(connection, told, NOW, random.Random(1))
    rows = await reports.rows(connection, "report_customer_month")
    told_months = [
        (row["month"].month, row["buyers"], row["new_buyers"], row["orders"], row["stayed"], row["churn_rate"])
        for row in rows
    ]
    assert told_months == [(1, 3, 3, 3, 0, None), (2, 2, 1, 3, 1, 2 / 3), (3, 2, 0, 2, 1, 0.5)]
    assert [row["purchase_frequency"] for row in rows] == [1, 1.5, 1] and rows[0]["average_order_value"] == 1000
    rows = await reports.rows(connection, "report_cohort")
    assert [(row["cohort"].month, row["months_later"], row["active_buyers"], row["buyers"]) for row in rows] == [
        (1, 0, 3, 3),
        (1, 1, 1, 3),
        (1, 2, 2, 3),
        (2, 0, 1, 1),
    ]


@pytest.mark.covers("S4.69", "S4.71")
async def test_lives_and_the_year_are_those_of_a_count_by_hand(connection: Any) -> None:
    ago = {0: (100, 90, 80), 1: (30, 20), 2: (5,), 3: (500, 490), 4: (400, 3)}
    told = [
        order(person, NOW - days * DAY, 10 * person + at)
        for person, all_ in ago.items()
        for at, days in enumerate(all_)
    ]
    await ingest(connection, told, NOW, random.Random(1))
    rows = await reports.ask(connection, "report_lives", NOW, 2.0)
    # 0 and 3 have lapsed: 80 and 490 days are more than twice their gap of 10. 1 has not: 20 is no more than twice 10.
    assert [(row["days"], row["lapsed"], row["still"]) for row in rows] == [
        (5, 0, 1),
        (10, 1, 0),
        (20, 1, 0),
        (30, 0, 1),
        (400, 0, 1),
    ]
    assert sum(row["together"] for row in rows) == 20 + 10 + 0 + 10 + 397
    [year] = await reports.ask(connection, "report_year", NOW, "EUR")
    assert (year["buyers"], year["orders"], year["buyers_before"], year["lost"]) == (4, 7, 2, 1)
    assert (year["bought_again"], year["bought_ever"], year["net"]) == (4, 5, 7000) and year["recency_days"] == 20


@pytest.mark.covers("S0.39")
async def test_who_slept_and_bought_within_ninety_days_was_reactivated(connection: Any) -> None:
    await runs.lane_of(connection, "acme", NOW)
    told = [item for person in range(4) for item in sent(person, NOW - 50 * DAY, 1, 10, arrives=person != 3)]
    told += [order(person, NOW - 200 * DAY, person) for person in (0, 1, 3)] + [order(2, NOW - 60 * DAY, 2)]
    told += [order(person, NOW - 20 * DAY, 10 + person) for person in (0, 2, 3)]
    await ingest(connection, told, NOW, random.Random(1))
    await reports.refresh(connection, SETTINGS, NOW)
    assert await reports.reactivated(connection, "spring", 90 * DAY, 90 * DAY) == (2, 1)
    assert await reports.reactivated(connection, "spring", 90 * DAY, 10 * DAY) == (2, 0)


@pytest.mark.covers("S3.30", "S4.37")
async def test_opt_outs_are_counted_by_messages_in_a_week(connection: Any) -> None:
    monday = datetime(2026, 3, 2, 9, tzinfo=UTC)
    told = sent(0, monday, 1, 10) + sent(1, monday, 1, 11) + sent(1, monday + DAY, 1, 12)
    told += [item for at in range(9) for item in sent(2, monday + at * HOUR, 1, 20 + at)]
    told += [of(person, "opted_out", monday + 2 * DAY, f"stop:{person}", source="keyword") for person in (1, 2)]
    await ingest(connection, told, NOW, random.Random(1))
    await reports.refresh(connection, SETTINGS, NOW)
    rows = await reports.rows(connection, "report_messages_week")
    assert [tuple(row.values()) for row in rows] == [(1, 1, 0, 0.0), (2, 1, 1, 1.0), (8, 1, 1, 1.0)]
    [out] = await reports.ask(connection, "report_opt_outs", "", date(1970, 1, 1), NOW.date())
    assert out == {"source": "keyword", "people": 2}


@pytest.mark.covers("S2.33", "S3.13")
async def test_hours_are_of_people_s_own_clocks_and_sources_say_when_they_spoke_last(connection: Any) -> None:
    at = NOW.replace(hour=9) - DAY
    told = [of(0, "visit", at), of(0, "visit", at + HOUR), of(1, "visit", at), *sent(1, at, 1, 10)]
    await ingest(connection, told, NOW, random.Random(1))
    await connection.execute("UPDATE profile SET zone = 'Asia/Tokyo' WHERE number = $1", FIRST)
    visits = await reports.hours(connection, NOW - 28 * DAY, "Europe/Vienna")
    assert {hour: count for hour, count in enumerate(visits) if count} == {18: 1, 19: 1, 10: 1}
    [source] = await reports.ask(connection, "report_sources", NOW + 2 * DAY)
    assert (source["source"], source["last_at"], source["events"]) == ("shop", NOW, 3)


@pytest.mark.covers("S4.76")
async def test_promptness_is_from_what_set_it_off_to_the_handset(connection: Any) -> None:
    told = [of(0, "workflow_entered", NOW - timedelta(seconds=1), "w1", campaign="spring")]
    told += sent(0, NOW, 1, 10) + sent(1, NOW, 1, 10)
    told.append(of(1, "replied", NOW + HOUR, "replied:1:9", campaign="spring"))
    await ingest(connection, told, NOW + HOUR, random.Random(1))
    await reports.refresh(connection, SETTINGS, NOW + HOUR)
    [row] = await reports.ask(connection, "report_timing", "spring", NOW.date(), NOW.date())
    assert (row["entered"], row["delivered"], row["replied"]) == (1, 2, 1)
    assert row["to_submit"] == [1.0] * 3 and row["to_deliver"] == [60.0] * 3 and row["to_reply"] == [3540.0] * 3


@pytest.mark.covers("S4.61", "S4.51")
async def test_the_list_grows_by_grants_and_shrinks_by_revocations_of_whatever_reach(connection: Any) -> None:
    rows = [
        (0, 1, "acme", "grant", "form", 10),
        (0, 2, "acme", "revoke", "keyword", 8),
        (0, 3, "acme", "grant", "form", 2),
        (1, 1, "acme", "grant", "checkout", 9),
        (1, 2, "*", "revoke", "keyword", 3),
        (2, 1, "acme", "grant", "form", 9),
        (2, 2, "*", "suppress", "invalid", 3),
        (2, 3, "*", "release", "invalid", 1),
        (3, 1, "acme", "pending", "form", 9),
        (4, 1, "*", "revoke", "keyword", 9),
        (5, 1, "acme", "grant", "form", 9),
        (5, 2, "acme", "grant", "form", 5),
        (5, 3, "acme", "revoke", "keyword", 5),
    ]
    for number, id_, brand, action, source, ago in rows:
        n = FIRST + number
        await connection.execute(
            "INSERT INTO consent (bucket, id, number, effective_at, recorded_at, brand, class, action, source, "
            "previous, hash) "
            "VALUES ($1, $2, $3, $4, $4, $5, 'promotional', $6, $7, '', '')",
            (n ^ n >> 8 ^ n >> 16 ^ n >> 24) & 255,
            id_,
            n,
            NOW - ago * DAY,
            brand,
            action,
            source,
        )
    told = await reports.ask(connection, "report_growth", "UTC")
    found = [((NOW.date() - row["day"]).days, row["source"], row["gained"], row["lost"]) for row in told]
    assert found == [
        (10, "form", 1, 0),
        (9, "checkout", 1, 0),
        (9, "form", 2, 0),
        (8, "keyword", 0, 1),
        (5, "keyword", 0, 1),
        (3, "invalid", 0, 1),
        (3, "keyword", 0, 1),
        (2, "form", 1, 0),
        (1, "invalid", 1, 0),
    ]
