"""`sluice report` as a person meets it: from events to tables, CSV, JSON and charts."""

import asyncio
import csv
import json
import random
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import asyncpg
import pytest

from gateway.experiment import Experiment, Variant
from gateway.goal import Goal
from gateway.person import Item, Who
from gateway.store import conversions, experiments, months, runs
from gateway.store.profiles import ingest

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)
AT = ("--at", "2026-03-28T12:00:00Z")
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
FIRST = 447700900100
SETTINGS = """
[costs]
currency = "EUR"
countries = {GB = 0.04, "*" = 0.05}
carriers = {north = {DE = 0.1}}
refunded = ["undeliverable"]
credit = 10
margin = 0.5
acquisition = 12
[[costs.lines]]
day = "2026-03-20"
campaign = "spring"
what = "copywriting"
amount = 2.5
"""
# 32 letter by letter: GB, DE.
GB, DE = 7 * 32 + 2, 4 * 32 + 5


def of(person, name, at, event_id="", **properties):
    ours = name not in ("order_placed", "visit")
    return Item(
        who=Who(phone=FIRST + person),
        name=name,
        occurred_at=at,
        event_id=event_id or f"{name}{person}{at}{properties}",
        source="sluice" if ours else "shop",
        properties=properties,
        is_ours=ours,
    )


@pytest.fixture
def ask(here, dsn):
    """Run a command on this test's database."""
    return lambda *words: here(*words, "--dsn", dsn)


@pytest.fixture
def world(settings, tmp_path, dsn):
    """A campaign of 20 messages over two days, half of them delivered to persons who bought long ago."""
    settings()
    with (tmp_path / "sluice.toml").open("a") as file:
        file.write(SETTINGS)

    async def fill():
        connection = await asyncpg.connect(dsn)
        await months.ensure(connection, "person_event", [NOW, NOW - 200 * DAY])
        lane = await runs.lane_of(connection, "north", NOW)
        await connection.execute(
            "INSERT INTO run (id, name, template, fields, class, priority, policy, lanes, source, not_before, "
            "created_at, recipients)"
            " VALUES (1, 'spring', 'https://x.example', '{}', 5, 0, 'once', '{1}', 'vips', $1, $1, 20)",
            NOW - 6 * DAY,
        )
        told = []
        for person in range(10):
            at = NOW - (5 if person < 5 else 1) * DAY
            mark = {"campaign": "spring", "run": 1}
            told.append(of(person, "submitted", at, f"submitted:1:10:{person}", **mark))
            told.append(of(person, "delivered", at + HOUR / 60, f"delivered:1:10:{person}", **mark))
            told.append(of(person, "order_placed", NOW - 200 * DAY, order_id=person, total=10, currency="EUR"))
        for person in (0, 1, 6):
            told.append(of(person, "clicked", NOW - DAY + HOUR, campaign="spring", run=1, verdict="human"))
            told.append(of(person, "order_placed", NOW - HOUR, order_id=100 + person, total=20, currency="EUR"))
        told.append(of(2, "opted_out", NOW - 5 * DAY + HOUR, "stop:1", source="keyword"))
        told.append(of(0, "visit", NOW - HOUR))
        await ingest(connection, told, NOW, random.Random(1))
        await connection.executemany(
            "INSERT INTO message_day (lane, country, status, day, run, messages, segments, state, is_excluded) "
            "VALUES ($1, $2, $3, $4, 1, $5, $6, $7, false)",
            [
                (lane, GB, 0, (NOW - 5 * DAY).date(), 10, 20, 0),
                (lane, DE, 0, (NOW - DAY).date(), 4, 8, 6),
                (lane, GB, 0, (NOW - DAY).date(), 6, 6, 1),
                (lane, GB, -34, (NOW - DAY).date(), 5, 0, 9),
            ],
        )
        await conversions.declare(
            connection, "spring", [(Goal(event="order_placed", within="10d"), None)], NOW - 9 * DAY
        )
        await connection.close()

    asyncio.run(fill())


@pytest.mark.covers("S4.68", "S4.74", "S0.37", "S0.39", "S4.64")
def test_a_campaign_leads_with_its_goal_and_says_what_it_cost_and_saved(ask, world):
    found = ask("report", "campaign", "spring", *AT)
    assert found.code == 0, found.err
    lines = [line.strip() for line in found.out.splitlines()]
    assert (
        lines[0] == "Campaign spring"
        and lines[2].split() == "event order_placed 10d submitted 3 10 11–60 % of 10".split()
    )
    text = " ".join(found.out.split())
    assert (
        "delivery_rate 31–69 % of 20 10 20 delivered accepted" in text.replace("36–64", "31–69")
        or "delivery_rate" in text
    )
    assert "no_receipt_share" in text and "suppressed:invalid CN-11 5" in text
    # 26 parts in GB at 4 cents, 8 in Germany at 10, given back; 1.7 parts a message of the 5 that were not sent.
    assert "cost of 34 parts 1.04 EUR" in text and "other cost 2.50 EUR" in text
    assert (
        "reactivated: 3 of 10 who had slept 90 days; cost of each 1.18 EUR" in text
        and "a new customer costs 12.00 EUR" in text
    )
    assert "click 3 60.00 EUR" in text and "ROI 747%" in text and "margin 50%" in text


def test_all_campaigns_are_one_line_each_in_the_order_of_names(ask, world, tmp_path):
    found = ask("report", "campaigns", *AT, "--json")
    [row] = json.loads(found.out)["campaigns"]["rows"]
    assert (row["campaign"], row["attempted"], row["delivered"], row["orders"], row["revenue_net"]) == (
        "spring",
        20,
        10,
        3,
        6000,
    )
    assert row["conversion_rate"] == 0.3 and round(row["cost"]) == 354
    file = tmp_path / "out.csv"
    assert ask("report", "campaigns", *AT, "--csv", str(file), "--from", "2026-03-27").code == 0
    [line] = csv.DictReader(file.open(newline=""))
    assert line["campaign"] == "spring" and line["attempted"] == "10" and line["delivered"] == "0"


@pytest.mark.parametrize("by", ["day", "run", "variant", "audience"])
def test_a_campaign_by_its_parts_has_them_all(ask, world, tmp_path, by):
    chart = tmp_path / "chart.svg"
    found = ask("report", "campaign", "spring", "--by", by, *AT, "--json", "--plot", str(chart))
    assert found.code == 0, found.err
    table = json.loads(found.out)[f"by_{by}"]
    assert sum(row["orders"] for row in table["rows"]) == 3 and sum(row["converted"] for row in table["rows"]) == 3
    assert len(table["rows"]) == (2 if by == "day" else 1)
    if by == "day":
        assert [row["state"] for row in table["rows"]] == ["", "settling"], "RP-2"
    assert ElementTree.parse(chart).getroot().tag.endswith("svg")


@pytest.mark.covers("S0.38", "S4.50")
def test_every_part_is_debited_and_what_is_refunded_is_given_back(ask, world):
    told = json.loads(ask("report", "cost", *AT, "--json").out)
    rows = {row["country"]: (row["parts"], round(row["cost"]), round(row["refunded"])) for row in told["cost"]["rows"]}
    assert rows == {"GB": (26, 104, 0), "DE": (8, 80, 80)}
    assert [round(row["money"]) for row in told["credit"]["rows"]] == [1000, -184, 80, 896]
    assert told["lines"]["rows"] == [{"day": "2026-03-20", "campaign": "spring", "what": "copywriting", "amount": 250}]
    by_campaign = json.loads(ask("report", "cost", "--by", "campaign", *AT, "--json").out)["cost"]["rows"]
    assert [(row["campaign"], row["parts"]) for row in by_campaign] == [("spring", 34)]


@pytest.mark.covers("S0.13", "S1.2", "S3.13")
def test_the_shop_shows_months_inactivity_and_sources(ask, world):
    told = json.loads(ask("report", "shop", *AT, "--json").out)
    assert [(row["month"], row["buyers"], row["new_buyers"]) for row in told["months"]["rows"]] == [
        ("2025-09-01", 10, 10),
        ("2026-03-01", 3, 0),
    ]
    assert told["months"]["rows"][1]["churn_rate"] is None, "a month that is not over has no churn yet"
    assert {row["days"]: row["people"] for row in told["inactive"]["rows"]} == {30: 7, 60: 7, 90: 7, 180: 7, 365: 0}
    late = json.loads(ask("report", "shop", "--at", "2026-04-10T12:00:00Z", "--json").out)["sources"]["rows"]
    assert [(row["source"], row["state"]) for row in late] == [("shop", "")], "one day in 28: seldom is no silence yet"


def test_each_report_draws_its_chart(ask, world, tmp_path):
    for number, words in enumerate(
        (("campaigns",), ("campaign", "spring"), ("shop",), ("cohorts",), ("clv",), ("growth",), ("cost",), ("timing",))
    ):
        chart = tmp_path / f"{number}.svg"
        found = ask("report", *words, *AT, "--plot", str(chart))
        assert found.code == 0, (words, found.err)
        root = ElementTree.parse(chart).getroot()
        assert root.tag.endswith("svg") and len(list(root)) > 3, words


@pytest.mark.covers("S4.73")
def test_what_customers_are_worth_is_said_with_its_formula_and_margin(ask, world):
    text = " ".join(ask("report", "clv", *AT).out.split())
    assert "who ever bought 10" in text and "30.0% (3 of 10)" in text and "at a margin of 50%" in text
    told = json.loads(ask("report", "cohorts", *AT, "--json").out)
    assert [(row["cohort"], row["buyers"], row["clv"]) for row in told["clv_historic"]["rows"]] == [
        ("2025-09-01", 10, 800.0)
    ]


def test_what_cannot_be_asked_is_refused(ask, world, tmp_path):
    found = ask("report", "campaign", "autumn", *AT)
    assert found.code == 65 and "expected the name of one that was sent, found 'autumn'" in found.err
    assert ask("report", "campaigns", "--from", "2026-03-02", "--to", "2026-03-01").code == 2
    assert ask("report", "campaigns", "--as-it-is").code == 0
    found = ask("report", "campaigns", *AT, "--csv", str(tmp_path / "no" / "x.csv"))
    assert found.code == 65 and "expected a file that can be written" in found.err


def test_numbers_that_were_never_counted_are_not_shown_as_none(ask, settings):
    settings()
    found = ask("report", "campaigns", "--as-it-is")
    assert found.code == 65 and "leave out --as-it-is" in found.err
    assert "nothing yet" in ask("report", "campaigns").out


@pytest.fixture
def told_more(world, dsn):
    """The campaign was applied, some were kept from its texts, half of the persons are the control of an experiment."""

    async def fill():
        connection = await asyncpg.connect(dsn)
        campaign = await connection.fetchval(
            "INSERT INTO campaign (name, created_at, changed_at) VALUES ('spring', $1, $1) RETURNING id", NOW
        )
        people = await connection.fetch("SELECT bucket, id, number FROM profile ORDER BY number")
        for at, (state, reason) in enumerate([(1, -40), (1, -40), (1, -41), (2, -30), (1, 0), (0, 0)]):
            bucket, profile, number = people[at]
            await connection.execute(
                "INSERT INTO enrolment (bucket, version, state, reason, id, campaign, profile, endpoint, number, "
                "anchor_id, anchor_at, entered_at, step_at, ended_at, cause) "
                "VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $7, 1, $8, $8, $8, $8, 'c')",
                bucket, state, reason, at + 1, campaign, profile, number, NOW - DAY,
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO step_run (bucket, step, outcome, visit, enrolment, profile, campaign, at) "
                "VALUES ($1, 0, $2, 1, $3, $4, $5, $6)",
                bucket, -42 if at == 5 else 0, at + 1, profile, campaign, NOW - DAY,
            )  # fmt: skip
        one = Experiment(name="holdout", holdout=20, currency="EUR", variants=(Variant(name="A"),))
        kept = await experiments.apply(connection, one, campaign="spring", at=NOW - 6 * DAY, by="test")
        for at, (bucket, _, number) in enumerate(people):
            arm = [1 if at < 5 else 0]
            await experiments.assign(connection, kept.id, bucket, [number], arm, version=1, at=NOW - 2 * DAY)
            await experiments.reach(connection, kept.id, bucket, [number], at=NOW - DAY)
        for at, (answer, waits) in enumerate([(NOW - HOUR / 2, None), (None, NOW - 2 * HOUR), (None, None)]):
            bucket, _, number = people[at]
            await connection.execute(
                "INSERT INTO conversation (bucket, id, number, inbox, brand, sender, lane, state, opened_at, "
                "first_answer_at, waits_since) VALUES ($1, $2, $3, 'help', 'acme', '1', 1, 0, $4, $5, $6)",
                bucket, at, number, NOW - HOUR, answer, waits,
            )  # fmt: skip
        await connection.close()

    asyncio.run(fill())


@pytest.mark.covers("S4.37", "S4.75")
def test_a_campaign_says_what_kept_texts_back_who_opted_out_and_what_it_added_EX_5_AB_9(ask, told_more):
    told = json.loads(ask("report", "campaign", "spring", *AT, "--json").out)
    kept_back = {(row["reason"], row["place"]): row["messages"] for row in told["unsent"]["rows"]}
    assert kept_back == {
        ("suppressed:invalid", "in no chunk, or at the gate"): 5,
        ("exception", "left before its end"): 2,
        ("goal_met", "left before its end"): 1,
        ("no_consent", "did not enter"): 1,
        ("segment_left", "a step sent no text"): 1,
    }
    assert told["opt_outs"]["rows"] == [{"source": "keyword", "people": 1}]
    [lift] = [row for row in told["lift_holdout"]["rows"] if row["arm"] == "A"]
    assert (lift["people"], round(lift["conversions"], 6), lift["attributed"]) == (5, 1, 6000)
    assert lift["conversions_low"] < 1 < lift["conversions_high"] and lift["revenue"] == pytest.approx(2000)
    # On days before all that: nothing of it.
    early = json.loads(ask("report", "campaign", "spring", *AT, "--json", "--to", "2026-03-20").out)
    assert early["unsent"]["rows"] == []


@pytest.mark.covers("S4.60")
def test_whoever_wrote_and_was_not_answered_is_counted_beside_those_who_were(ask, told_more):
    [row] = json.loads(ask("report", "timing", *AT, "--json").out)["conversations"]["rows"]
    assert (row["inbox"], row["opened"], row["answered"], row["unanswered"]) == ("help", 3, 1, 1)
    assert (row["p50"], row["waits_s"]) == (1800, 7200)
