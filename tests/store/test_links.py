"""Short links: made in batches with their messages, found again, and what was opened of them (TP-6, TP-7)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from gateway.link import Link, Target, Verdict, read_token, target_of, token_of
from gateway.person import Item, Who, hash_of
from gateway.store import links, lists, people, postgres
from gateway.store.links import Click, Decided, Wanted
from gateway.store.profiles import ingest

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
END = NOW + timedelta(days=30)
ADA, BOB = 447_700_900_001, 447_700_900_002
RUN = 7


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    yield opened
    await postgres.close(opened)


@pytest.fixture
async def offer(connection: Any) -> int:
    link = Link(url="https://shop.acme.example/{code}")
    return await links.keep_target(connection, target_of(link, "offer", brand="acme", campaign="spring"), NOW)


def wanted(number: int, target: int, *params: str) -> Wanted:
    return Wanted(number, target, RUN, NOW, END, params or None)


def opened(token: str, number: int, target: int, at: datetime, id_: int = 1, **more: Any) -> Click:
    place = read_token(token)
    assert place is not None
    return Click(
        bucket=place[0], id=id_, token=place[1], number=number, target=target, run=RUN, at=at, made_at=NOW, **more
    )


@pytest.mark.covers("S0.28", "S1.20")
async def test_tp_6_a_token_is_of_one_message_and_one_link_and_leads_back_to_both(connection: Any, offer: int) -> None:
    tokens = await links.mint_all(
        connection, [wanted(ADA, offer, "A1"), wanted(BOB, offer, "B2"), wanted(ADA, offer, "A3")], Random(1)
    )
    assert len(set(tokens)) == 3
    places = [read_token(token) for token in tokens]
    assert [place and place[0] for place in places] == [hash_of(ADA), hash_of(BOB), hash_of(ADA)]
    found = await links.look(connection, [place for place in places if place] + [(0, 1), (255, 5)])
    assert [(found[place].number, found[place].params) for place in places if place] == [
        (ADA, ("A1",)), (BOB, ("B2",)), (ADA, ("A3",)),
    ]  # fmt: skip
    assert len(found) == 3
    (target,) = (await links.targets(connection, [offer])).values()
    assert target.address(found[places[0]].params).startswith("https://shop.acme.example/A1?utm_source=sms")


async def test_tp_6_links_are_there_with_the_transaction_of_their_message_or_not_at_all(
    connection: Any, offer: int
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with connection.transaction():
            (token,) = await links.mint(connection, hash_of(ADA), [wanted(ADA, offer)], Random(1))
            raise ZeroDivisionError
    place = read_token(token)
    assert place is not None and await links.look(connection, [place]) == {}


async def test_a_token_that_is_taken_is_drawn_again_within_the_same_transaction(connection: Any, offer: int) -> None:
    bucket = hash_of(ADA)
    (first,) = await links.mint(connection, bucket, [wanted(ADA, offer)], Random(5))
    async with connection.transaction():
        (second,) = await links.mint(connection, bucket, [wanted(ADA, offer)], Random(5))
    assert first == token_of(bucket, Random(5).getrandbits(57)) != second
    assert await connection.fetchval("SELECT count(*) FROM link") == 2


async def test_where_links_lead_is_kept_once(connection: Any, offer: int) -> None:
    same = target_of(Link(url="https://shop.acme.example/{code}"), "offer", brand="acme", campaign="spring")
    assert await links.keep_target(connection, same, NOW + timedelta(days=1)) == offer
    assert await links.keep_target(connection, Target(kind="optout", name="stop"), NOW) != offer
    assert (await links.targets(connection, [offer, 999]))[offer] == same


async def test_links_that_are_long_over_are_forgotten_and_the_others_stay(connection: Any, offer: int) -> None:
    (old,) = await links.mint(connection, hash_of(ADA), [wanted(ADA, offer)], Random(1))
    late = wanted(ADA, offer)._replace(expires_at=END + timedelta(days=1))
    (new,) = await links.mint(connection, hash_of(ADA), [late], Random(2))
    assert await links.forget(connection, hash_of(ADA), END + timedelta(hours=1)) == 1
    found = await links.look(connection, [place for token in (old, new) if (place := read_token(token))])
    assert list(found) == [read_token(new)]


@pytest.mark.covers("S0.29")
async def test_tp_7_a_click_has_its_recipient_message_time_and_verdict_and_is_kept_once(
    connection: Any, offer: int
) -> None:
    (token,) = await links.mint(connection, hash_of(ADA), [wanted(ADA, offer)], Random(1))
    click = opened(token, ADA, offer, NOW + timedelta(minutes=5), agent="Mozilla/5.0")
    await links.add_clicks(connection, [click])
    await links.add_clicks(connection, [click, opened(token, ADA, offer, NOW + timedelta(hours=1), id_=2)])
    first, second = await links.untold(connection, 10)
    assert (first.number, first.run, first.at, first.agent) == (ADA, RUN, NOW + timedelta(minutes=5), "Mozilla/5.0")
    assert first.verdict == Verdict.UNDECIDED and first.submitted_at is None
    await links.decide(
        connection,
        [Decided(bucket=first.bucket, id=1, verdict=Verdict.HUMAN, rule="browser", is_told=False),
         Decided(bucket=second.bucket, id=2, verdict=Verdict.BOT, rule="early", is_told=True)],
    )  # fmt: skip
    (left,) = await links.untold(connection, 10)
    assert (left.id, left.verdict, left.rule) == (1, Verdict.HUMAN, "browser")
    await links.decide(
        connection, [Decided(bucket=left.bucket, id=1, verdict=Verdict.HUMAN, rule="browser", is_told=True)]
    )
    # What is told is decided for good.
    await links.decide(connection, [Decided(bucket=left.bucket, id=1, verdict=Verdict.BOT, rule="x", is_told=True)])
    assert await links.untold(connection, 10) == []
    told = await links.clicks_of(connection, ADA)
    assert [(one["verdict"], one["rule"]) for one in told] == [(Verdict.BOT, "early"), (Verdict.HUMAN, "browser")]


async def test_tp_7_a_click_knows_when_its_message_was_submitted_as_soon_as_that_is_told(
    connection: Any, offer: int
) -> None:
    sent = NOW + timedelta(seconds=30)
    for run, at in ((RUN, sent), (8, NOW + timedelta(seconds=5))):
        told = Item(
            who=Who(phone=ADA), source="sluice", event_id=f"submitted:{run}", name="submitted", occurred_at=at,
            properties={"run": run}, is_ours=True,
        )  # fmt: skip
        await ingest(connection, [told], sent, Random(run))
    token, other = await links.mint_all(connection, [wanted(ADA, offer), wanted(BOB, offer)], Random(1))
    await links.add_clicks(connection, [opened(token, ADA, offer, sent), opened(other, BOB, offer, sent)])
    found = {one.number: one.submitted_at for one in await links.untold(connection, 10)}
    assert found == {ADA: sent, BOB: None}


async def test_tp_7_repeated_clicks_are_each_kept_and_their_person_counts_once(connection: Any, offer: int) -> None:
    tokens = await links.mint_all(connection, [wanted(ADA, offer), wanted(BOB, offer)], Random(1))
    human, bot = Verdict.HUMAN, Verdict.BOT
    rows = [(tokens[0], ADA, human), (tokens[0], ADA, human), (tokens[1], BOB, human), (tokens[1], BOB, bot)]
    await links.add_clicks(
        connection,
        [opened(token, number, offer, NOW, id_=at, verdict=verdict, is_told=True)
         for at, (token, number, verdict) in enumerate(rows)],
    )  # fmt: skip
    (found,) = await links.opened(connection, RUN)
    assert (found.name, found.campaign, found.links) == ("offer", "spring", 2)
    assert found.clicks == {human: 3, bot: 1} and found.people == {human: 2, bot: 1}
    assert await links.opened(connection, 99) == []


async def test_tp_7_a_beacon_belongs_to_the_opening_before_it(connection: Any, offer: int) -> None:
    (token,) = await links.mint(connection, hash_of(ADA), [wanted(ADA, offer)], Random(1))
    place = read_token(token)
    assert place is not None
    times = [NOW, NOW + timedelta(minutes=30), NOW + timedelta(minutes=31)]
    await links.add_clicks(connection, [opened(token, ADA, offer, at, id_=id_) for id_, at in enumerate(times)])
    beacon = NOW + timedelta(minutes=30, seconds=3)
    await links.note_beacons(connection, {place: beacon})
    await links.note_beacons(connection, {place: beacon + timedelta(seconds=9)})
    await links.note_beacons(connection, {})
    assert [one.beacon_at for one in await links.untold(connection, 10)] == [None, beacon, None]


@pytest.mark.covers("S0.28")
async def test_tp_6_every_number_of_a_list_gets_one_link_as_a_value_of_its_own(
    connection: Any, offer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "ENTRIES_AT_ONCE", 3)
    listed = await people.open_list(connection, "vip", source_name="", source_sha256=b"", fields=[], now=NOW)
    everybody = [447_700_900_000 + 256 * n for n in range(8)] + [ADA]
    await lists.add(connection, listed.id, everybody, "till", NOW, Random(1))
    await connection.execute("""UPDATE list_entry SET attributes = '{"code": "A 1"}' WHERE number = $1""", ADA)

    async def make() -> int:
        return await links.mint_list(
            connection, listed.id, "link", "go.acme.example", offer, ["code"], run=0, now=NOW, expires_at=END,
            chance=Random(9),
        )  # fmt: skip

    assert await make() == 9
    rows = await connection.fetch("SELECT number, attributes ->> 'link' AS url FROM list_entry ORDER BY number")
    found = {row["number"]: row["url"] for row in rows}
    places = {number: read_token(url.removeprefix("https://go.acme.example/")) for number, url in found.items()}
    looked = await links.look(connection, [place for place in places.values() if place])
    assert {place: one.number for place, one in looked.items()} == {
        place: number for number, place in places.items() if place
    }
    assert len(looked) == 9 and looked[places[ADA]].params == ("A 1",)  # type: ignore[index]
    # Said again, it gives to who came meanwhile, and takes from nobody.
    await lists.add(connection, listed.id, [BOB], "till", NOW, Random(2))
    assert await make() == 1
    again = await connection.fetch("SELECT number, attributes ->> 'link' AS url FROM list_entry ORDER BY number")
    assert found.items() <= {row["number"]: row["url"] for row in again}.items()


async def test_tp_6_all_links_of_a_text_are_made_for_a_batch_of_people_with_their_messages(connection: Any) -> None:
    named = {"offer": Link(url="https://shop.acme.example/{code}", life="2d"), "out": Link(optout=True)}
    linked = await links.keep_links(connection, named, brand="acme", campaign="spring", now=NOW)
    assert await links.keep_links(connection, named, brand="acme", campaign="spring", now=NOW) == linked
    people = [(ADA, {"code": "A1"}), (ADA, {}), (ADA, {"code": "C3", "more": "x"})]
    async with connection.transaction():
        found = await links.urls(connection, "go.acme.example", linked, people, run=RUN, now=NOW, chance=Random(4))
    assert [sorted(one) for one in found] == [["offer", "out"]] * 3
    places = [read_token(one["offer"].rpartition("/")[2]) for one in found]
    looked = await links.look(connection, [place for place in places if place])
    assert [looked[place].params for place in places if place] == [("A1",), ("",), ("C3",)]
    assert {one.expires_at for one in looked.values()} == {NOW + timedelta(days=2)}
    assert len({url for one in found for url in one.values()}) == 6
    assert await links.urls(connection, "a.example", {}, people, run=1, now=NOW, chance=Random(4)) == [{}, {}, {}]
