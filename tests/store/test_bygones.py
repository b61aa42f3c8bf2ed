"""What campaigns leave behind: what is over goes, and what decides whether somebody enters once more stays."""

from datetime import datetime, timedelta

import pytest

from gateway.experiment import Experiment, Variant
from gateway.person import hash_of
from gateway.reasons import Reason
from gateway.store import bygones, experiments, postgres, runs
from tests.fixtures.shop import NOW, Shop

ANN, BOB, CAT = 447700900001, 447700900002, 447700900003
DAY = timedelta(days=1)
LATER = NOW + 500 * DAY


def campaign(name: str, entry: str = "", wait: str = "30m", trigger: str = 'on = "event"\nevent = "cart"') -> str:
    return (
        f'name = "{name}"\nbrand = "acme"\nwait = "{wait}"\nmessage = {{text = "Hi."}}\n{entry}\n[trigger]\n{trigger}'
    )


async def forget(shop: Shop, before: datetime = LATER) -> int:
    """Have everything forgotten that ended before a moment, in all buckets; -> rows."""
    rules, rows = await bygones.rules(shop.connection), 0
    for bucket in (hash_of(number) for number in (ANN, BOB, CAT)):
        behind: int | None = 0
        while behind is not None:
            looked = await bygones.forget_enrolments(shop.connection, bucket, behind, before, shop.now, rules)
            rows, behind = rows + looked.rows, looked.behind
    return rows


async def count(shop: Shop, table: str) -> int:
    return int(await shop.connection.fetchval(f"SELECT count(*) FROM {table}"))


async def test_who_was_in_a_campaign_goes_with_its_steps_and_who_is_under_way_stays(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bygones, "LOOKED_AT", 1)
    await shop.people([ANN, BOB])
    await shop.people([CAT], consents_=False)
    await shop.apply(campaign("quick"))
    await shop.apply(campaign("slow", wait="900d"))
    for number in (ANN, BOB, CAT):
        await shop.tells(number, "cart")
    await shop.goes_on(DAY)
    assert await count(shop, "step_run") == 4
    met = (
        "INSERT INTO excepted SELECT bucket, 1, 0, 0, 1, 0, id, profile, 0, 0, $1, $1, $1, $1, 'c', 'e' FROM enrolment "
    )
    await shop.connection.execute(f"{met} WHERE state = 1 AND number = $2", NOW, ANN)
    assert await forget(shop, NOW + 2 * DAY) == 9, (
        "two were in it, with two steps each, one text met; one refused, twice"
    )
    assert await shop.standing("quick") == []
    assert [one[0] for one in await shop.standing("slow")] == [ANN, BOB]
    assert await count(shop, "step_run") == await count(shop, "excepted") == 0
    await shop.tells(ANN, "cart")
    await shop.goes_on(DAY)
    assert await forget(shop, NOW + 2 * DAY) == 0, "what ended since"
    assert [number for number, _ in await shop.texts("quick")] == [ANN, BOB, ANN]


async def test_who_entered_once_or_once_for_a_key_does_not_enter_again_when_that_is_long_ago_TR_4(shop: Shop) -> None:
    await shop.people([ANN])
    await shop.apply(campaign("once", 'entry = {again = "once"}'))
    key = 'on = "event"\nevent = "cart"\nkey = "cart_id"'
    await shop.apply(campaign("key", 'entry = {again = "per_key"}', trigger=key))
    await shop.apply(campaign("every", 'entry = {again = "every"}'))
    await shop.tells(ANN, "cart", {"cart_id": "a"})
    await shop.goes_on(DAY)
    shop.now = LATER
    assert await forget(shop) == 9, "two steps of each, of two what the cause said, and one itself"
    said = await shop.connection.fetch("SELECT context::text FROM enrolment")
    assert [row["context"] for row in said] == ["{}", "{}"]
    assert await forget(shop) == 0, "what is needed has become less once"
    for cart in "ab":
        await shop.tells(ANN, "cart", {"cart_id": cart})
        await shop.goes_on(DAY)
    duplicate = int(Reason.DUPLICATE_ENDPOINT)
    assert [one[2:] for one in await shop.standing("once")] == [(1, 0), (2, duplicate), (2, duplicate)]
    assert [one[2:] for one in await shop.standing("key")] == [(1, 0), (2, duplicate), (1, 0)]
    assert [one[2:] for one in await shop.standing("every")] == [(1, 0), (1, 0)]


async def test_who_entered_within_a_period_stays_until_it_is_over_TR_4(shop: Shop) -> None:
    await shop.people([ANN])
    await shop.apply(campaign("period", 'entry = {again = "period", period = "600d"}'))
    await shop.tells(ANN, "cart")
    await shop.goes_on(DAY)
    shop.now = LATER
    await forget(shop)
    await shop.tells(ANN, "cart")
    await shop.goes_on(DAY)
    assert [one[2] for one in await shop.standing("period")] == [1, 2]
    await shop.goes_on(100 * DAY)
    await forget(shop)
    assert [one[2] for one in await shop.standing("period")] == [2], "who was refused within it is younger"
    await shop.tells(ANN, "cart")
    await shop.goes_on(DAY)
    assert [one[2] for one in await shop.standing("period")] == [2, 1]


async def test_a_silence_brings_nobody_twice_however_long_ago_it_was_S1_5(shop: Shop) -> None:
    """TR-3, TR-6: the episode is the last order; who was refused for it had it, too."""
    await shop.people([ANN])
    await shop.people([BOB], consents_=False)
    await shop.apply(campaign("silence", trigger='on = "inactivity"\ndays = 30\nat = "10:00"'))
    for number in (ANN, BOB):
        await shop.tells(number, "order_placed", {"order_id": str(number), "total": 5, "currency": "EUR"})
    await shop.goes_on(33 * DAY, step=3 * DAY)
    brought = await shop.standing("silence")
    assert [one[2] for one in brought] == [1, 2]
    shop.now = LATER
    ticks = await count(shop, "campaign_tick")
    await forget(shop)
    await shop.goes_on(2 * DAY, step=DAY)
    assert await shop.standing("silence") == brought
    assert await bygones.forget_ticks(shop.connection, LATER) >= ticks - 1
    left = await shop.connection.fetchval("SELECT min(at) FROM campaign_tick")
    assert left >= LATER, "occurrences have come since"


async def test_the_newest_occurrence_stays_so_that_none_is_carried_out_again_TR_7(shop: Shop) -> None:
    await shop.people([ANN])
    schedule = 'on = "schedule"\nschedule = {every = "week", weekday = "mon", at = "10:00", clock = "workspace"}'
    await shop.apply(campaign("weekly", trigger=schedule))
    await shop.goes_on(15 * DAY, step=DAY / 2)
    assert await count(shop, "campaign_tick") == 2
    assert await bygones.forget_ticks(shop.connection, shop.now + DAY) == 1
    await shop.goes_on(timedelta(hours=1))
    assert len(await shop.texts()) == 2


async def test_orders_by_text_go_when_they_are_over_and_no_shop_is_to_be_told(shop: Shop) -> None:
    write = (
        "INSERT INTO text_order (bucket, number, enrolment, step, visit, conversation, campaign, question, state, "
        "nonce, quantity, price, currency, name, address, tried, at, due_at) "
        "VALUES (1, $1, 1, 's', 1, 1, 'c', '{}', $2, 0, 1, 1, 'EUR', '', '', 0, $3, $4)"
    )
    for number, state, due in ((1, 0, None), (2, 3, None), (3, 4, None), (4, 4, NOW), (5, 7, None)):
        await shop.connection.execute(write, number, state, NOW, due)
    await shop.connection.execute(write, 6, 4, LATER, None)
    assert await bygones.forget_text_orders(shop.connection, 1, LATER) == 2
    assert await bygones.forget_text_orders(shop.connection, 2, LATER) == 0
    left = await shop.connection.fetch("SELECT number FROM text_order ORDER BY number")
    assert [row["number"] for row in left] == [1, 2, 4, 6]


async def test_causes_that_nobody_has_decided_about_go(shop: Shop) -> None:
    write = (
        "INSERT INTO cause (bucket, profile, id, occurred_at, received_at, kind, name, told) "
        "VALUES (1, 1, $1, $2, $2, 'event', 'cart', 'x')"
    )
    for id_, at in ((1, NOW), (2, LATER)):
        await shop.connection.execute(write, id_, at)
    assert await bygones.forget_causes(shop.connection, 1, LATER) == 1
    assert await shop.connection.fetchval("SELECT id FROM cause") == 2


async def test_arms_stay_as_long_as_their_experiment_runs_AB_1(shop: Shop) -> None:
    async def arms(name: str) -> experiments.Kept:
        body = Experiment(name=name, variants=(Variant(name="a", text="a"), Variant(name="b", text="b")))
        kept = await experiments.apply(shop.connection, body, campaign="", at=NOW, by="ada")
        await experiments.assign(shop.connection, kept.id, hash_of(ANN), [ANN], [1], version=1, at=NOW)
        return kept

    under_way, is_over = await arms("under_way"), await arms("over")
    await experiments.settle(shop.connection, is_over, "stopped", None, at=NOW, by="ada", why="")
    assert await bygones.old_experiments(shop.connection, NOW) == []
    over = await bygones.old_experiments(shop.connection, LATER)
    assert over == [is_over.id]
    assert await bygones.forget_arms(shop.connection, hash_of(ANN), over, NOW) == 0, "given since"
    assert await bygones.forget_arms(shop.connection, hash_of(ANN), over, LATER) == 1
    assert await shop.connection.fetchval("SELECT experiment FROM assignment") == under_way.id


async def days_of_runs(shop: Shop) -> list[int]:
    """Have three days on each of which a step got a run, all of it counted, and queued and kept no more."""
    await shop.people([ANN, BOB])
    await shop.apply(campaign("quick"))
    for _ in range(3):
        for number in (ANN, BOB):
            await shop.tells(number, "cart")
        await shop.goes_on(DAY)
    lane = next(iter(await runs.lanes(shop.connection)))
    of = [row["run"] for row in await shop.connection.fetch("SELECT run FROM campaign_run ORDER BY run")]
    bucket = hash_of(ANN)
    for at, run in enumerate(of):
        for day in (NOW + at * DAY, NOW + (at + 1) * DAY):
            await shop.connection.execute(
                "INSERT INTO message_day SELECT $1, 44, 0, $2, $3, 2, 3, x, false FROM unnest('{0,1}'::int[]) x",
                lane, day, run,
            )  # fmt: skip
        of_message = f"{lane}, {at}, {bucket}, 7, {run}, {run}, '2026-03-0{at + 2}', 'quick', 'a'"
        await shop.connection.execute(
            f"""
            INSERT INTO touch (lane, pos, bucket, profile, chunk, run, day, campaign, variant, submitted_at, leads)
            VALUES ({of_message}, $1, true);
            INSERT INTO attribution (lane, pos, bucket, profile, chunk, run, day, campaign, variant, gross, net,
                                     placed_at, rule, is_main, key, currency, influenced)
            VALUES ({of_message}, 5, 4, $1, 1, true, '{at}', 'EUR', '{{quick}}');
            INSERT INTO conversion (lane, pos, bucket, profile, chunk, run, day, campaign, variant, hits, case_id,
                                    gross, net, submitted_at, at, place)
            VALUES ({of_message}, 1, {at}, 5, 4, $1, $1, 1);
            INSERT INTO click (bucket, verdict, is_told, id, token, number, target, run, at, made_at, rule, agent)
            VALUES ({bucket}, 0, true, {at}, {at}, {ANN}, 1, {run}, $1, $1, '', '')
            """.replace("$1", f"'{NOW + at * DAY}'")
        )
    for table in ("chunk", "chunk_payload"):
        await shop.connection.execute(f"DELETE FROM {table}")
    return of


async def reported(shop: Shop) -> list[list[tuple[object, ...]]]:
    """Read what reports say, of whichever runs."""
    views = ("report_campaign_day", "report_campaign", "report_audience", "report_parts_day")
    return [sorted(tuple(row) for row in await shop.connection.fetch(f"SELECT * FROM {view}")) for view in views]


async def test_runs_of_a_step_go_but_for_the_newest_and_reports_say_the_same(shop: Shop) -> None:
    of = await days_of_runs(shop)
    assert len(of) == 3
    before = await reported(shop)
    assert [len(rows) for rows in before] == [4, 1, 1, 8]
    lanes = list(await runs.lanes(shop.connection))
    assert await bygones.old_step_runs(shop.connection, lanes, NOW) == {}, "none is so old"
    newest = await bygones.old_step_runs(shop.connection, lanes, LATER)
    assert newest == {of[0]: of[2], of[1]: of[2]}
    for _ in range(2):
        # Who dies before the runs are gone does it once more.
        folded = [await bygones.fold_lane(shop.connection, lanes[0], newest)]
        folded.append(await bygones.fold_bucket(shop.connection, hash_of(ANN), newest))
        assert await reported(shop) == before
    assert folded == [0, 0]
    assert await bygones.drop_step_runs(shop.connection, list(newest)) == 2
    assert await reported(shop) == before
    assert await count(shop, "run") == await count(shop, "campaign_run") == 1
    assert await shop.connection.fetchval("SELECT count(*) FROM report_run") == 1
    assert await shop.connection.fetchval("SELECT count(*) FROM click WHERE run = $1", of[2]) == 3
    await shop.tells(ANN, "cart")
    await shop.goes_on(timedelta(hours=1))
    assert [number for number, _ in await shop.texts("quick")] == [ANN]


async def test_runs_of_a_step_stay_while_anything_of_them_is_queued_or_kept(shop: Shop) -> None:
    await shop.people([ANN])
    await shop.apply(campaign("quick"))
    for _ in range(3):
        await shop.tells(ANN, "cart")
        await shop.goes_on(DAY)
    lanes = list(await runs.lanes(shop.connection))
    assert await bygones.old_step_runs(shop.connection, lanes, LATER) == {}
    first, second, newest = [
        row["run"] for row in await shop.connection.fetch("SELECT run FROM campaign_run ORDER BY 1")
    ]
    await shop.connection.execute("DELETE FROM chunk WHERE run = ANY($1)", [first, second])
    await shop.connection.execute(
        "INSERT INTO outgoing (bucket, id, run, lane, country, made_at, numbers) "
        "VALUES (255, 1, $1, $2, 44, $3, '{1}')", second, lanes[0], NOW,
    )  # fmt: skip
    assert await bygones.old_step_runs(shop.connection, lanes, LATER) == {first: newest}


async def test_two_who_forget_the_same_do_it_once(dsn: str, shop: Shop) -> None:
    await shop.people([ANN, BOB])
    await shop.apply(campaign("quick"))
    for number in (ANN, BOB):
        await shop.tells(number, "cart")
    await shop.goes_on(DAY)
    shop.now = LATER
    other = await postgres.connect(dsn)
    bucket = await shop.connection.fetchval("SELECT min(bucket) FROM enrolment")
    rules = await bygones.rules(shop.connection)
    first = await bygones.forget_enrolments(shop.connection, bucket, 0, LATER, shop.now, rules)
    second = await bygones.forget_enrolments(other, bucket, 0, LATER, shop.now, rules)
    assert (first.rows, second.rows) == (3, 0)
    other.terminate()
