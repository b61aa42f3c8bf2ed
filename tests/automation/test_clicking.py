"""Who opened a link is decided and told: only what a human does is anybody's event (TP-7, GL-5, EV-11)."""

from collections.abc import AsyncIterator
from copy import deepcopy
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from gateway.automation import clicking
from gateway.automation.clicking import KEPT_FOR, Clicking
from gateway.campaign.consent import states_at
from gateway.errors import StoreError
from gateway.link import Link, Verdict
from gateway.person import Item, Who
from gateway.store import consents, jobs, links, membership, pages, postgres, profiles, runs, stops
from gateway.store.profiles import ingest
from tests.fixtures.doors import ADA, BOB, NOW, RUN, SURVEY, Opened

OFFER = Link(url="https://shop.acme.example/")
PAGE = Link(page="survey", values=("name",))


class World:
    """A door, the job behind it, and people who are known."""

    def __init__(self, opened: Opened):
        self.opened, self.connection = opened, opened.connection
        self.job = Clicking(lambda: self.opened.now, lambda: postgres.connect(opened.dsn), "one", Random(5))

    async def know(self, number: int, sent_s: float = 60.0) -> None:
        """Somebody whose message was accepted so long after its link was made."""
        told = Item(
            who=Who(external_id=f"c{number}", phone=number), source="sluice", event_id=f"submitted:{number}",
            name="submitted", occurred_at=NOW + timedelta(seconds=sent_s), is_ours=True,
            properties={"run": RUN, "campaign": "spring"},
        )  # fmt: skip
        await ingest(self.connection, [told], NOW + timedelta(minutes=2), Random(number))

    async def round(self, after_s: float = 0.0) -> None:
        """Let the door write, and the job look, some time later."""
        assert await self.opened.door.recording.flush()
        self.opened.now += timedelta(seconds=after_s)
        await self.job.round()

    async def verdicts(self) -> list[tuple[int, str]]:
        """What was found out, in the order of the clicks."""
        rows = await self.connection.fetch("SELECT verdict, rule FROM click ORDER BY at, id")
        return [(row["verdict"], row["rule"]) for row in rows]

    async def events(self, name: str) -> list[Any]:
        """What persons were told, with their properties."""
        return await self.connection.fetch(
            "SELECT v.properties::text AS told, p.number, v.flags, v.occurred_at, v.source FROM person_event v "
            "JOIN profile p ON p.bucket = v.bucket AND p.id = v.profile WHERE v.name = $1 ORDER BY v.occurred_at, v.id",
            name,
        )


@pytest.fixture
async def world(opened: Opened) -> AsyncIterator[World]:
    worker = runs.Worker(instance="one", host="h", boot="", pid=1, started_at=NOW, seen_at=NOW, node="one")
    await membership.register(opened.connection, worker)
    made = World(opened)
    # What is due once a day was done, so that a round looks at what was opened alone.
    made.job._forgetting.done(opened.now)
    await made.know(ADA)
    yield made
    await made.job.close()


@pytest.mark.covers("S0.29", "S2.14")
async def test_tp_7_what_a_human_opens_is_their_event_once_for_each_time(world: World) -> None:
    token = await world.opened.link(OFFER)
    await world.opened.visitor().get(f"/{token}")
    await world.round()
    await world.round()
    world.opened.now += timedelta(minutes=1)
    await world.opened.visitor().get(f"/{token}")
    await world.round()
    first, second = await world.events("clicked")
    assert first["told"] == ('{"run": 7, "link": "offer", "rule": "browser", "verdict": "human", "campaign": "spring"}')
    assert (first["number"], first["source"]) == (ADA, "sluice") and second["occurred_at"] > first["occurred_at"]
    last = await world.connection.fetchval("SELECT last_click_at FROM profile WHERE number = $1", ADA)
    assert last == second["occurred_at"]
    assert await world.verdicts() == [(Verdict.HUMAN, "browser")] * 2 and world.job.told == 2
    assert not await links.has_untold(world.connection)


async def test_gl_5_what_a_bot_or_nobody_knows_who_opens_is_nobodys_event(world: World) -> None:
    token = await world.opened.link(OFFER)
    before = await world.connection.fetchrow("SELECT * FROM profile WHERE number = $1", ADA)
    for agent in ("WhatsApp/2.24", "strange", ""):
        await world.opened.visitor(agent=agent).get(f"/{token}")
        world.opened.now += timedelta(seconds=1)
    await world.round()
    assert await world.verdicts() == [
        (Verdict.BOT, "preview_agent"), (Verdict.UNSURE, "no_browser"), (Verdict.UNSURE, "no_browser"),
    ]  # fmt: skip
    assert await world.events("clicked") == []
    assert await world.connection.fetchrow("SELECT * FROM profile WHERE number = $1", ADA) == before


async def test_tp_7_a_scanner_that_is_faster_than_the_message_is_a_bot(world: World) -> None:
    await world.know(BOB, sent_s=299.0)
    early, late = await world.opened.link(OFFER, BOB), await world.opened.link(OFFER, ADA)
    for token in (early, late):
        await world.opened.visitor().get(f"/{token}")
    await world.round()
    assert sorted(await world.verdicts()) == [(Verdict.HUMAN, "browser"), (Verdict.BOT, "early")]
    assert [row["number"] for row in await world.events("clicked")] == [ADA]


async def test_tp_7_a_click_whose_message_is_not_told_yet_waits_for_it(world: World) -> None:
    token = await world.opened.link(OFFER, BOB)
    await world.opened.visitor().get(f"/{token}")
    await world.round(5)
    assert await world.verdicts() == [(Verdict.UNDECIDED, "")]
    await world.know(BOB)
    await world.round(1)
    assert await world.verdicts() == [(Verdict.HUMAN, "browser")]


async def test_of_a_number_that_nobody_has_a_click_is_kept_and_nobody_is_made(world: World) -> None:
    token = await world.opened.link(OFFER, BOB)
    await world.opened.visitor().get(f"/{token}")
    await world.round(20)
    assert await world.verdicts() == [(Verdict.HUMAN, "browser")] and await world.events("clicked") == []
    assert await world.connection.fetchval("SELECT count(*) FROM profile WHERE number = $1", BOB) == 0
    assert not await links.has_untold(world.connection)


@pytest.mark.covers("S0.29")
async def test_tp_7_opening_a_page_counts_when_its_picture_was_fetched(world: World) -> None:
    await world.opened.page()
    await world.know(BOB)
    seen, unseen = await world.opened.link(PAGE, ADA, "Ada"), await world.opened.link(PAGE, BOB, "Bob")
    for token in (seen, unseen):
        await world.opened.visitor().get(f"/{token}")
        await world.opened.visitor().get(f"/p/{token}")
    await world.round(1)
    assert await world.verdicts() == [(Verdict.UNDECIDED, "")] * 2
    await world.opened.visitor().get(f"/b/{seen}.gif")
    await world.round(1)
    assert sorted(await world.verdicts()) == [(Verdict.UNDECIDED, ""), (Verdict.HUMAN, "beacon")]
    await world.round(10)
    assert sorted(await world.verdicts()) == [(Verdict.HUMAN, "beacon"), (Verdict.BOT, "no_beacon")]
    assert [row["number"] for row in await world.events("clicked")] == [ADA]
    (opening,) = await world.events("page_opened")
    assert opening["number"] == ADA and '"page": "survey"' in opening["told"]


@pytest.mark.parametrize("ends_behind", ["decide", "ingest"])
async def test_tp_7_a_worker_that_dies_in_the_middle_leaves_nothing_untold_and_nothing_twice(
    world: World, monkeypatch: pytest.MonkeyPatch, ends_behind: str
) -> None:
    token = await world.opened.link(OFFER)
    await world.opened.visitor().get(f"/{token}")
    room = links if ends_behind == "decide" else profiles
    real = getattr(room, ends_behind)

    async def dies(*given: Any, **more: Any) -> None:
        await real(*given, **more)
        raise StoreError("killed", retryable=True)

    with monkeypatch.context() as patched:
        patched.setattr(room, ends_behind, dies)
        with pytest.raises(StoreError):
            await world.round()
    await world.round()
    await world.round()
    assert len(await world.events("clicked")) == 1 and await world.verdicts() == [(Verdict.HUMAN, "browser")]


async def test_only_the_worker_that_has_the_job_tells(world: World) -> None:
    worker = runs.Worker(instance="two", host="h", boot="", pid=2, started_at=NOW, seen_at=NOW, node="two")
    await membership.register(world.connection, worker)
    assert await jobs.take(world.connection, Clicking.NAME, "two") is not None
    token = await world.opened.link(OFFER)
    await world.opened.visitor().get(f"/{token}")
    await world.round()
    assert await world.events("clicked") == []


@pytest.mark.covers("S0.18", "S0.20", "S0.21", "S4.51")
async def test_s0_18_answers_are_attributes_at_once_and_a_box_is_a_grant_with_its_very_words(world: World) -> None:
    await world.opened.page()
    token = await world.opened.link(PAGE, ADA, "Ada")
    told = {"form": "sizes", "size": "L", "why": "long arms", "more": "yes"}
    await world.opened.visitor().send(f"/p/{token}", told)
    await world.opened.visitor().send(f"/p/{token}", {"form": "win", "guess": "42"})
    await world.round()
    await world.round()
    attributes = await world.connection.fetchval("SELECT attributes::text FROM profile WHERE number = $1", ADA)
    assert attributes == '{"reason": "long arms", "shirt_size": "L"}'
    (sent,) = await world.events("page_submitted")
    for part in ('"size": "L"', '"declared": ["reason", "shirt_size"]', '"campaign": "spring"', '"form": "sizes"'):
        assert part in sent["told"]
    (entered,) = await world.events("contest_entered")
    assert '"guess": "42"' in entered["told"] and '"is_contest": true' in entered["told"]
    # It is the person's own doing: they were here.
    assert await world.connection.fetchval("SELECT last_seen_at FROM profile WHERE number = $1", ADA) is not None
    rows = (await consents.rows_of(world.connection, [ADA]))[ADA]
    (link,) = rows.links
    assert (link.fact.brand, link.fact.source, link.fact.action) == ("acme", "form", "grant")
    assert link.fact.wording == "Acme may send me offers by text message." and link.fact.wording_version == "survey 1"
    assert states_at([link.fact], world.opened.now)["acme"].promotional == 2


async def test_a_box_that_nobody_ticked_grants_nothing(world: World) -> None:
    await world.opened.page()
    token = await world.opened.link(PAGE, ADA, "Ada")
    await world.opened.visitor().send(f"/p/{token}", {"form": "sizes", "size": "L"})
    await world.round()
    assert len(await world.events("page_submitted")) == 1
    assert (await consents.rows_of(world.connection, [ADA]))[ADA].links == []


@pytest.mark.covers("S4.42")
async def test_s4_42_who_is_too_young_grants_nothing_and_gets_nothing_that_advertises(world: World) -> None:
    """CN-11: by the reason `age`, which neither a START nor an ordinary answer lifts; once however often it is said."""
    document = deepcopy(SURVEY)
    fields: Any = document["blocks"][2]["fields"]  # type: ignore[index]
    assert fields[0]["name"] == "size"
    fields.append({"kind": "birthday", "name": "born", "label": "Born on", "attribute": "birthday", "least": 16})
    await world.opened.page(document)
    year = NOW.year
    told = {"form": "sizes", "size": "L", "more": "yes"}
    silent, young, old = ADA, ADA + 1, ADA + 2
    for number, born in ((silent, ""), (young, f"{year - 15}-01-01"), (old, f"{year - 17}-01-01")):
        await world.know(number)
        for _ in range(2):
            token = await world.opened.link(PAGE, number, "Ada")
            await world.opened.visitor().send(f"/p/{token}", told | {"born": born})
            await world.round()
    rows = await consents.rows_of(world.connection, [silent, young, old])
    assert {number: {link.fact.action for link in one.links} for number, one in rows.items() if one.links} == {
        old: {"grant"}
    }
    feed = await world.connection.fetch("SELECT number, scope, is_stop, source FROM stop_feed")
    assert [tuple(row) for row in feed] == [(young, "promotional", True, "age")]
    assert not await stops.lift_doubt(world.connection, young, at=world.opened.now)
    await stops.enter_heard(world.connection, [(young, "*", False)], at=world.opened.now)
    (standing,) = [one for one in await stops.standing(world.connection, [young]) if one.scope == "promotional"]
    assert standing.is_stop
    kept = "SELECT attributes ->> 'birthday' FROM profile WHERE number = $1"
    assert await world.connection.fetchval(kept, young) == f"{year - 15}-01-01"


async def test_an_entry_is_told_by_the_version_that_was_filled_in(world: World) -> None:
    await world.opened.page()
    token = await world.opened.link(PAGE, ADA, "Ada")
    await world.opened.visitor().send(f"/p/{token}", {"form": "win", "guess": "1"})
    await world.opened.page(SURVEY | {"blocks": SURVEY["blocks"][:1]})  # type: ignore[index]
    await world.round()
    assert len(await world.events("contest_entered")) == 1 and await pages.untold(world.connection, 9) == []


async def test_links_are_forgotten_a_good_while_after_their_end_and_their_clicks_stay(world: World) -> None:
    token = await world.opened.link(Link(url="https://shop.acme.example/", life="1d"))
    await world.opened.visitor().get(f"/{token}")
    await world.round()
    world.opened.now = NOW + timedelta(days=1) + KEPT_FOR - timedelta(minutes=1)
    await world.round()
    assert await world.connection.fetchval("SELECT count(*) FROM link") == 1
    await world.round(clicking.DAY_S)
    assert await world.connection.fetchval("SELECT count(*) FROM link") == 0
    assert (await world.opened.visitor().get(f"/{token}")).status == 404
    assert len(await links.clicks_of(world.connection, ADA)) == 1
