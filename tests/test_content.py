"""The same offer is not told the same way on two channels within 72 hours (XC-2)."""

from datetime import UTC, datetime, timedelta
from random import Random

import asyncpg
import pytest

from gateway.campaign.audience import check, parse, write
from gateway.content import Content, excepting, problems_of, told_elsewhere
from gateway.person import Item, Who
from gateway.predicate import since
from gateway.store import selection
from gateway.store.audiences import Terms
from gateway.store.profiles import ingest

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
OFFER = Content(key="spring-20")


@pytest.mark.covers("S4.59")
async def test_xc_2_who_had_the_offer_by_mail_within_72_hours_is_found_and_nobody_else(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    told = [
        ("ada", "email_sent", "spring-20", 1),
        ("bob", "push_sent", "spring-20", 71),
        ("cyd", "email_sent", "spring-20", 72),
        ("dee", "email_sent", "summer-10", 1),
        ("eve", "submitted", "spring-20", 1),
    ]
    items = [
        Item(who=Who(external_id=who), name=name, occurred_at=NOW - hours * HOUR, properties={"content_key": key})
        for who, name, key, hours in told
    ]
    await ingest(connection, [*items, Item(who=Who(external_id="fay"), name="visit")], NOW, Random(1))
    # As the exception of a run that was made a moment ago: what was told before counts all the same.
    tree = since(told_elsewhere(OFFER), NOW)
    found = await selection.members(connection, tree, Terms(now=NOW), 10)
    names = {row["id"]: row["external_id"] for row in await connection.fetch("SELECT id, external_id FROM profile")}
    assert {names[id_] for id_, _ in found} == {"ada", "bob"}
    await connection.close()


def test_xc_2_the_question_is_one_that_an_audience_may_ask() -> None:
    tree = told_elsewhere(OFFER)
    check(tree)
    assert parse(write(tree)) == tree
    assert told_elsewhere(Content(key="x", channels=("email_sent", "email_sent"), within="2d")) == parse(
        "count(email_sent, 2d, content_key = 'x') > 0"
    )


def test_who_had_it_elsewhere_is_skipped_unless_there_is_a_variant_for_them() -> None:
    exception = parse("count(order_placed) > 0")
    assert excepting(exception, None) == exception and excepting(None, OFFER) == told_elsewhere(OFFER)
    assert excepting(exception, Content(key="x", otherwise="short")) == exception
    both = excepting(exception, OFFER)
    assert both is not None and write(both) == f"{write(exception)} or ({write(told_elsewhere(OFFER))})"


def test_a_length_that_is_none_is_refused_with_its_place() -> None:
    assert problems_of("content", OFFER) == []
    wrong = Content(key="x", within="three days")
    assert problems_of("content", wrong) == [
        ("content.within", "a length such as 90min, 72h, 3d or 2w", "'three days'")
    ]
    with pytest.raises(ValueError, match="expected a length"):
        told_elsewhere(wrong)
