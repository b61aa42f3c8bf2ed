"""The gate at the claim, on a real Postgres: who may go goes, who may not has a reason, who waits waits."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from _fastpath import gate as compiled
from _fastpath.outbound import encode_batch
from gateway.config import CarrierSettings
from gateway.dispatch.admission import Admission, Asked
from gateway.dispatch.clock import Clock
from gateway.dispatch.compose import form_of
from gateway.errors import StoreError
from gateway.gate import Cap, Gate, Local
from gateway.inbox import InboxSettings
from gateway.message import ChunkState, MessageClass, Policy
from gateway.person import hash_of
from gateway.reasons import Reason, word_of
from gateway.smpp.pdu import decode
from gateway.store import admission, audit, brands, control, conversations, postgres, queue, results, runs
from gateway.store.migrate import migrate
from tests.fixtures.campaign import make_run, numbers
from tests.fixtures.engine import engine, until
from tests.fixtures.pages import contacts_of, note_contacts, set_consent

pytestmark = pytest.mark.database
MONDAY_NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
NEAR_THE_END = datetime(2026, 3, 2, 19, 56, tzinfo=UTC)
NIGHT = datetime(2026, 3, 2, 23, tzinfo=UTC)
TUESDAY_NINE = datetime(2026, 3, 3, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.csv"


class Keeper:
    """The gate of lane 1 at an instant that a test sets; what it is asked about is claimed anew each time."""

    def __init__(self, dsn: str, connection: Any):
        self.now = MONDAY_NOON
        clock = Clock(monotonic=lambda: self.now.timestamp(), wall=lambda: self.now)
        self.connection, self.dsn, self.lane = connection, dsn, 0
        self.admission = Admission(lambda: postgres.connect(dsn), clock, 10.0)

    async def run(self, people: Any, gate: Gate, class_: MessageClass = MessageClass.BULK, **how: Any) -> runs.Run:
        """Enqueue."""
        return await make_run(
            self.connection, people, [self.lane], gate=gate, class_=class_, now=MONDAY_NOON - 9 * HOUR, **how
        )

    async def ask(self, run: runs.Run, gate: Gate, *, releases: bool = True) -> dict[str, int]:
        """Claim what there is of a run and ask the gate; -> how many by the word for it."""
        claimed = await queue.claim(self.connection, self.lane, "me", self.now, 64)
        mine = [batch for batch in claimed.batches if batch.run == run.id]
        given = [(batch.chunk_id, batch.epoch, batch.next_rank) for batch in claimed.batches]
        try:
            (waiting,) = await self.admission.admit([Asked(mine, run, "")])
        except StoreError:
            await queue.release(self.connection, self.lane, given)
            raise
        assert not isinstance(waiting, ValueError), waiting
        self.waiting = waiting
        counted: dict[str, int] = {}
        for batch in mine:
            for pos in range(batch.n):
                verdict = batch.verdict(pos) or 0
                word = {0: "send", 1: "hold"}.get(verdict) or word_of(verdict)
                counted[word] = counted.get(word, 0) + 1
        if releases:
            await queue.release(self.connection, self.lane, given)
        self.batches = mine
        return counted


@pytest.fixture
async def keeper(dsn: str) -> AsyncIterator[Keeper]:
    """Hand out the gate of one lane, on a Monday at noon."""
    await migrate(dsn)
    connection = await postgres.connect(dsn)
    keeper = Keeper(dsn, connection)
    keeper.lane = await runs.lane_of(connection, "acme", MONDAY_NOON)
    yield keeper
    await keeper.admission.close()
    await connection.close()


async def test_only_whom_the_gate_lets_pass_is_written_to_and_the_others_have_their_reason(
    dsn: str, ledger: Path
) -> None:
    async with engine(dsn, ledger) as e:
        now = datetime.now(UTC)
        people = numbers(300)
        await set_consent(e.connection, "acme", people[:200])
        gate = Gate(brand="acme", caps=(Cap(limit=1, per="48h", classes=("transactional", "bulk")),))
        await note_contacts(
            e.connection, people[150:180], now - 30 * HOUR, brand=await admission.id_of(e.connection, "brand", "acme")
        )
        run = await e.run(people, gate=gate, class_=MessageClass.TRANSACTIONAL)
        await e.start()
        await e.ends(run)
        assert await e.states(run) == {"delivered": 170, "refused": 130}
        went = [*people[:150], *people[180:200]]
        assert sorted(int(one.destination) for one in (await e.audit(run)).taken) == went
        assert await contacts_of(e.connection, run.id) == went
        refusals = await results.refusals(e.connection, run.id, now - timedelta(days=1))
        assert {one.status: one.messages for one in refusals} == {Reason.NO_CONSENT: 100, -100: 30}


async def test_by_which_zones_and_packs_a_run_is_decided_about_stands_there_before_the_first_decision_QH_12(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(needs="none", spread_s=0)
    run = await keeper.run(numbers(100), gate)
    monkeypatch.setattr("gateway.dispatch.admission.versions", lambda: {"tzdata": "2026b", "packs": "1"})
    for _ in range(2):
        assert await keeper.ask(run, gate) == {"send": 100}
    # Another worker, whose packs are newer, and a third that has those too.
    monkeypatch.setattr("gateway.dispatch.admission.versions", lambda: {"tzdata": "2026b", "packs": "2"})
    for name in ("second", "third"):
        await keeper.admission.close()
        clock = Clock(monotonic=lambda: keeper.now.timestamp(), wall=lambda: keeper.now)
        keeper.admission = Admission(lambda: postgres.connect(keeper.dsn), clock, 10.0, name)
        assert await keeper.ask(run, gate) == {"send": 100}
    found = await audit.data_of(keeper.connection, run.id, run.created_at)
    assert [(one.reason, one.by) for one in found] == [
        ("tzdata 2026b, packs 1", ""), ("tzdata 2026b, packs 2", "second"),
    ]  # fmt: skip


async def test_a_run_without_a_gate_asks_nobody(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        run = await e.run(numbers(50))
        await e.start()
        await e.ends(run)
        assert await e.states(run) == {"delivered": 50}
        assert await e.connection.fetchval("SELECT count(*) FROM contact_page") == 0


async def test_a_run_whose_gate_cannot_be_read_is_held_and_sends_nothing(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        run = await e.run(numbers(50), gate=Gate(windows={"brand": {"mon": ["09:00-09:00"]}}))
        await e.start()

        async def is_held() -> bool:
            states = await e.connection.fetch("SELECT state FROM chunk WHERE run = $1", run.id)
            return [row["state"] for row in states] == [ChunkState.HELD]

        await until(is_held, "its chunk is set aside")
        assert (await e.audit(run)).taken == []


@pytest.mark.covers("S2.21", "S3.24", "S4.38")
async def test_at_night_a_chunk_waits_whole_for_the_morning_of_its_recipients_QH_5(keeper: Keeper) -> None:
    gate = Gate(needs="none", spread_s=0)
    run = await keeper.run(numbers(100), gate)
    keeper.now = NIGHT
    assert await keeper.ask(run, gate) == {"hold": 100}
    (held,) = keeper.waiting.values()
    assert held.until == TUESDAY_NINE and not held.positions
    keeper.now = TUESDAY_NINE
    assert await keeper.ask(run, gate) == {"send": 100}


@pytest.mark.covers("S3.23")
async def test_who_waits_in_another_zone_waits_in_a_chunk_of_his_own_and_nobody_else_does_QH_3(keeper: Keeper) -> None:
    """California is asleep at noon in London; who says that his clock is London's is not."""
    gate = Gate(needs="none", spread_s=0)
    californians = numbers(40, 14155550100)
    run = await keeper.run([*numbers(60), *californians], gate)
    assert await keeper.ask(run, gate, releases=False) == {"send": 60, "hold": 40}
    ((batch, held),) = keeper.waiting.items()
    assert held.until is None and sum(map(len, held.positions.values())) == 40
    assert await admission.put_aside(
        keeper.connection, keeper.lane, batch.chunk_id, batch.epoch, held.positions, keeper.now
    )
    copies = await keeper.connection.fetch(
        "SELECT n, not_before FROM chunk WHERE run = $1 AND repeats IS NOT NULL", run.id
    )
    (opens,) = held.positions
    assert [(copy["n"], copy["not_before"]) for copy in copies] == [(40, opens)]
    assert opens.astimezone(UTC).hour == 17  # nine in the morning there
    # A chunk that somebody else has by now is not touched.
    assert not await admission.put_aside(
        keeper.connection, keeper.lane, batch.chunk_id, batch.epoch + 1, held.positions, keeper.now
    )


async def test_with_less_than_five_minutes_left_nobody_is_written_to_QH_6(keeper: Keeper) -> None:
    gate = Gate(needs="none", spread_s=0)
    run = await keeper.run(numbers(10), gate)
    keeper.now = NEAR_THE_END
    assert await keeper.ask(run, gate) == {"hold": 10}
    keeper.now = NEAR_THE_END - timedelta(minutes=1)
    assert await keeper.ask(run, gate) == {"send": 10}
    (batch,) = keeper.batches
    assert batch.closes_at == (NEAR_THE_END + timedelta(minutes=4)).timestamp()


@pytest.mark.covers("X.4", "S4.38")
async def test_no_message_may_lie_with_the_carrier_beyond_the_window_of_its_own_recipient_QH_6(keeper: Keeper) -> None:
    """Noon in London is one in Madrid: eight hours are left there, and seven here."""
    gate = Gate(needs="none", spread_s=0)
    run = await keeper.run([447700900001, 34612345678], gate)
    assert await keeper.ask(run, gate) == {"send": 2}
    (batch,) = keeper.batches
    batch.dress(form_of("Hi", CarrierSettings(host="h"), has_windows=True))
    octets, _, _ = encode_batch(batch, now=keeper.now.timestamp())
    found = {}
    while octets:
        pdu = decode(octets[: int.from_bytes(octets[:4])])
        found[pdu.fields["destination_addr"]] = pdu.fields["validity_period"]
        octets = octets[int.from_bytes(octets[:4]) :]
    assert found == {"447700900001": "000000080000000R", "34612345678": "000000070000000R"}


async def test_codes_and_answers_pass_by_night_and_are_counted_nowhere_QH_10_CP_2(keeper: Keeper) -> None:
    gate = Gate(needs="none", caps=(Cap(limit=0, per="day"),))
    keeper.now = NIGHT
    for class_ in (MessageClass.OTP, MessageClass.COMPLIANCE, MessageClass.CONVERSATION):
        run = await keeper.run(numbers(5), gate, class_)
        assert await keeper.ask(run, gate) == {"send": 5}
        assert await contacts_of(keeper.connection, run.id) == []


async def test_a_claim_that_is_repeated_reserves_nothing_twice_CP_3(keeper: Keeper) -> None:
    gate = Gate(needs="none", caps=(Cap(limit=1, per="day"),))
    run = await keeper.run(numbers(20), gate)
    for _ in range(3):
        assert await keeper.ask(run, gate) == {"send": 20}
    assert await contacts_of(keeper.connection, run.id) == list(numbers(20))
    other = await keeper.run(numbers(20), gate, name="other")
    assert await keeper.ask(other, gate) == {"cap:0": 20}


async def test_run_from_an_audience_waits_for_whom_a_person_of_ours_answers_IN_7(keeper: Keeper) -> None:
    """Of those whom a person talks with the gate asks again; transactional messages go on."""
    people = numbers(8)
    closed = keeper.now - 23 * HOUR
    for at, (number, closed_at) in enumerate(zip(people, (None, closed, closed - 2 * HOUR), strict=False)):
        one = conversations.Conversation(
            bucket=hash_of(number), id=at, number=number, inbox="desk", brand="acme", sender="1", lane=keeper.lane,
            opened_at=closed - HOUR, state=0 if closed_at is None else 2, closed_at=closed_at, has_person=True,
        )  # fmt: skip
        kept = conversations.Kept(conversations={at: one})
        await conversations.keep(keeper.connection, hash_of(number), kept, keeper.now)
    gate = Gate(needs="none", gap_s=0)
    run = await keeper.run(people, gate)
    assert await keeper.ask(run, gate) == {"hold": 2, "send": 6}
    (waiting,) = keeper.waiting.values()
    quarter = keeper.now + timedelta(minutes=15)
    assert waiting.until is None and dict(waiting.positions) == {quarter: [0], closed + 24 * HOUR: [1]}
    other = await keeper.run(people, gate, MessageClass.TRANSACTIONAL, name="other")
    assert await keeper.ask(other, gate) == {"send": 8}
    # Of an inbox whose pause is shorter it is over.
    inboxes = {"desk": InboxSettings(pause_s=3600)}
    keeper.admission = Admission(
        lambda: postgres.connect(keeper.dsn), Clock(monotonic=lambda: 0.0, wall=lambda: keeper.now), 10.0, "", inboxes
    )
    third = await keeper.run(people, gate, name="third")
    assert await keeper.ask(third, gate) == {"hold": 1, "send": 7}


@pytest.mark.covers("S3.26", "S4.39", "S1.29")
async def test_64_gates_that_race_for_one_place_let_one_message_pass_CP_3(keeper: Keeper) -> None:
    gate = Gate(needs="none", caps=(Cap(limit=1, per="day"),), gap_s=0)
    people = numbers(8)
    racing = [await keeper.run(people, gate, name=f"run {at}") for at in range(64)]
    claimed = await queue.claim(keeper.connection, keeper.lane, "me", keeper.now, 64)
    gates = [Keeper(keeper.dsn, keeper.connection) for _ in racing]
    by_run = {batch.run: batch for batch in claimed.batches}
    await asyncio.gather(
        *(one.admission.admit([Asked([by_run[run.id]], run, "")]) for one, run in zip(gates, racing, strict=True))
    )
    passed = [by_run[run.id].number(pos) for run in racing for pos in range(8) if by_run[run.id].verdict(pos) == 0]
    assert sorted(passed) == list(people)
    for one in gates:
        await one.admission.close()


async def test_runs_of_one_claim_share_a_transaction_and_see_what_the_one_before_has_reserved_CP_3(
    keeper: Keeper,
) -> None:
    """One of them that cannot be read holds up none of the others."""
    gate = Gate(needs="none", caps=(Cap(limit=1, per="day"),), gap_s=0)
    broken = Gate(needs="none", windows={"brand": {"mon": ["09:00-09:00"]}})
    people = numbers(12)
    racing = [await keeper.run(people[at : at + 4], broken if at == 3 else gate, name=f"run {at}") for at in range(8)]
    claimed = await queue.claim(keeper.connection, keeper.lane, "me", keeper.now, 64)
    by_run = {batch.run: batch for batch in claimed.batches}
    asked = [Asked([by_run[run.id]], run, "") for run in racing]
    found = await keeper.admission.admit(asked)
    assert [isinstance(one, ValueError) for one in found] == [at == 3 for at in range(8)]
    passed = [one.batches[0].number(pos) for one in asked for pos in range(4) if one.batches[0].verdict(pos) == 0]
    assert sorted(passed) == list(people[:11])
    count = "SELECT count(DISTINCT xmin::text) FROM contact_page"
    assert await keeper.connection.fetchval(count) == 1


async def test_what_did_not_go_after_all_gives_its_place_back_CP_2(keeper: Keeper) -> None:
    gate = Gate(needs="none", caps=(Cap(limit=1, per="day"),))
    await note_contacts(keeper.connection, numbers(10), keeper.now - HOUR, run=5)
    await note_contacts(keeper.connection, numbers(4), keeper.now - HOUR / 2, run=5, kind=compiled.RETURNED)
    run = await keeper.run(numbers(10), gate)
    assert await keeper.ask(run, gate) == {"send": 4, "cap:0": 6}


async def test_a_gate_that_gets_no_answer_decides_nothing_and_is_asked_again(keeper: Keeper) -> None:
    gate = Gate(needs="none", caps=(Cap(limit=1, per="day"),))
    run = await keeper.run(numbers(20), gate)
    async with keeper.connection.transaction():
        await admission.hold_buckets(keeper.connection, range(256))
        impatient = Keeper(keeper.dsn, keeper.connection)
        impatient.admission = Admission(
            lambda: postgres.connect(keeper.dsn), Clock(monotonic=lambda: 0.0, wall=lambda: MONDAY_NOON), 0.2
        )
        impatient.lane = keeper.lane
        with pytest.raises(StoreError, match="gate of run"):
            await impatient.ask(run, gate)
        await impatient.admission.close()
    assert await contacts_of(keeper.connection, run.id) == []
    assert await keeper.ask(run, gate) == {"send": 20}


async def test_messages_of_an_open_run_to_one_number_count_against_each_other_and_a_copy_against_none_CP_1(
    dsn: str, ledger: Path
) -> None:
    """A triggered run writes to a person as often as something happens; of three only two are let through a day."""
    async with engine(dsn, ledger) as e:
        gate = Gate(needs="none", caps=(Cap(limit=2, per="48h", classes=("transactional",)),), gap_s=0)
        now = datetime.now(UTC)
        lane = await e.lane()
        run = await runs.add_run(
            e.connection, name="open", template="{{ n }}", fields=["n"], class_=MessageClass.TRANSACTIONAL,
            policy=Policy.ONCE, lanes=[lane], list_id=None, source=None, now=now, gate=gate,
        )  # fmt: skip
        chunks = [
            await runs.enqueue_few(e.connection, run, lane, numbers(2), [[str(at)], [str(at)]], now) for at in range(3)
        ]
        assert await admission.acts(e.connection, lane, chunks) == {one: (lane << 58) ^ one for one in chunks}
        await e.start()
        run = msgspec.structs.replace(run, recipients=6)
        await e.ends(run)
        assert await e.states(run) == {"delivered": 4, "refused": 2}
        refusals = await results.refusals(e.connection, run.id, now - timedelta(days=1))
        assert {one.status: one.messages for one in refusals} == {-100: 2}
        async with e.connection.transaction():
            copy, _ = await queue.copy_positions(e.connection, lane, chunks[1], [0, 1], now)
            copy, _ = await queue.copy_positions(e.connection, lane, copy, [1], now)
        assert await admission.acts(e.connection, lane, [copy]) == {copy: (lane << 58) ^ chunks[1]}


@pytest.mark.covers("S3.25")
async def test_of_two_runs_within_a_quarter_of_an_hour_the_one_of_higher_priority_has_the_place_CP_4(
    keeper: Keeper,
) -> None:
    """The first due loses whom the other means to write to; who is refused by the other is free again."""
    people = numbers(30)
    first = Gate(brand="acme", caps=(Cap(limit=1, per="day"),), gap_s=0)
    second = Gate(brand="acme", caps=(Cap(limit=1, per="day"),), gap_s=0)
    await set_consent(keeper.connection, "acme", [*people[:20], *people[25:]])
    early = await keeper.run(people, first)
    late = await keeper.run(people[10:25], second, priority=-1, not_before=MONDAY_NOON + timedelta(minutes=15))
    assert await contacts_of(keeper.connection, late.id, compiled.DUE) == list(people[10:25])
    assert await keeper.ask(early, first) == {"send": 15, "arbitration_lost": 10, "no_consent": 5}
    keeper.now += timedelta(minutes=15)
    assert await keeper.ask(late, second) == {"send": 10, "no_consent": 5}
    # Who was refused there, and has given a consent since, has to wait for nobody.
    await set_consent(keeper.connection, "acme", people)
    third = await keeper.run(people[10:25], first, name="third")
    assert await keeper.ask(third, first) == {"cap:0": 10, "send": 5}


async def test_what_is_due_later_than_in_a_quarter_of_an_hour_takes_nobody_s_place_CP_4(keeper: Keeper) -> None:
    gate = Gate(needs="none", caps=(Cap(limit=1, per="day"),), gap_s=0)
    early = await keeper.run(numbers(10), gate)
    soon = MONDAY_NOON + timedelta(minutes=15, seconds=1)
    await keeper.run(numbers(10), gate, priority=-1, not_before=soon)
    assert await keeper.ask(early, gate) == {"send": 10}


async def test_of_two_runs_of_one_priority_the_dearer_goes_before_and_an_equal_one_does_not_CP_4(
    keeper: Keeper,
) -> None:
    def gate(value: int) -> Gate:
        return Gate(needs="none", caps=(Cap(limit=1, per="day"),), gap_s=0, value=value)

    early = await keeper.run(numbers(10), gate(7))
    soon = MONDAY_NOON + timedelta(minutes=10)
    await keeper.run(numbers(5), gate(7), not_before=soon)
    await keeper.run(numbers(3), gate(8), not_before=soon)
    assert await keeper.ask(early, gate(7)) == {"send": 7, "arbitration_lost": 3}


@pytest.mark.parametrize("first", ["better", "worse"])
@pytest.mark.parametrize(("better", "worse"), [(1, 2), (0, 5), (-2, -1)])
async def test_whichever_is_enqueued_first_the_one_of_higher_priority_has_the_place_CP_4(
    keeper: Keeper, better: int, worse: int, first: str
) -> None:
    gate = Gate(needs="none", caps=(Cap(limit=1, per="day"),), gap_s=0)
    soon = MONDAY_NOON + timedelta(minutes=10)
    made = {}
    for which in (first, "worse" if first == "better" else "better"):
        people, rank, at = (numbers(6), better, soon) if which == "better" else (numbers(10), worse, None)
        made[which] = await keeper.run(people, gate, priority=rank, not_before=at, name=which)
    assert await keeper.ask(made["worse"], gate) == {"arbitration_lost": 6, "send": 4}
    keeper.now = soon
    assert await keeper.ask(made["better"], gate) == {"send": 6}


async def test_runs_that_are_alike_announce_nothing_CP_4(keeper: Keeper) -> None:
    gate = Gate(needs="none", caps=(Cap(limit=1, per="day"),), gap_s=0)
    for name in ("one", "two"):
        await keeper.run(numbers(10), gate, name=name)
    assert await keeper.connection.fetchval("SELECT count(*) FROM contact_page") == 0


async def test_of_a_run_that_others_go_behind_later_those_are_due_whom_it_has_not_claimed_CP_4(keeper: Keeper) -> None:
    """Whom it has refused before takes nobody's place, and whom it has written to has one already."""
    gate = Gate(brand="acme", caps=(Cap(limit=1, per="day"),), gap_s=0)
    people = numbers(20)
    await set_consent(keeper.connection, "acme", people[:5])
    before = await keeper.run(people[:10], gate, name="before")
    assert await keeper.ask(before, gate) == {"send": 5, "no_consent": 5}
    await keeper.connection.execute("UPDATE chunk SET state = 1 WHERE run = $1", before.id)
    await set_consent(keeper.connection, "acme", people)
    waits = await keeper.run(people[10:15], gate, name="waits", not_before=MONDAY_NOON + timedelta(minutes=9))
    behind = await keeper.run(people, gate, priority=3, name="behind")
    assert await contacts_of(keeper.connection, before.id, compiled.DUE) == []
    assert await contacts_of(keeper.connection, waits.id, compiled.DUE) == list(people[10:15])
    assert await keeper.ask(behind, gate) == {"cap:0": 5, "send": 10, "arbitration_lost": 5}


@pytest.mark.parametrize("how", ["paused", "over", "expired", "held"])
async def test_what_a_run_means_to_write_holds_nobody_up_when_it_stands_still_or_is_over_CP_4(
    keeper: Keeper, how: str
) -> None:
    gate = Gate(needs="none", caps=(Cap(limit=1, per="day"),), gap_s=0)
    early = await keeper.run(numbers(10), gate)
    soon = MONDAY_NOON + timedelta(minutes=10)
    other = await keeper.run(
        numbers(10), gate, priority=-1, not_before=soon, name="spring",
        lifetime=timedelta(hours=9, minutes=-1) if how == "expired" else None,
    )  # fmt: skip
    if how == "paused":
        await control.give(keeper.connection, "pause", "campaign", ["spring"], at=keeper.now, by="me")
    elif how != "expired":
        state = ChunkState.DONE if how == "over" else ChunkState.HELD
        await keeper.connection.execute("UPDATE chunk SET state = $2 WHERE run = $1", other.id, int(state))
    assert await keeper.ask(early, gate) == {"send": 10}


async def test_who_waits_for_a_window_is_due_again_when_it_opens_CP_4(keeper: Keeper) -> None:
    """At nine both runs may go; until then the second, whose window is wider, is not held up by the first."""
    hours = {"campaign": "09:00-19:00"}
    first = Gate(needs="none", caps=(Cap(limit=1, per="day"),), gap_s=0, windows=hours, spread_s=0)
    keeper.now = NIGHT
    before = await keeper.run(numbers(6), first, priority=-1)
    assert await keeper.ask(before, first) == {"hold": 6}
    assert await contacts_of(keeper.connection, before.id, compiled.DUE) == [n for n in numbers(6) for _ in range(2)]
    wide = Gate(needs="none", caps=(Cap(limit=1, per="day", classes=("transactional", "bulk")),), gap_s=0)
    by_night = await keeper.run(numbers(3), wide, MessageClass.TRANSACTIONAL, name="by night")
    assert await keeper.ask(by_night, wide) == {"send": 3}
    keeper.now = TUESDAY_NINE - timedelta(minutes=10)
    by_night = await keeper.run(numbers(6), wide, MessageClass.TRANSACTIONAL, name="at dawn")
    assert await keeper.ask(by_night, wide) == {"arbitration_lost": 6}


async def test_a_limit_that_is_lowered_holds_from_the_next_claim_of_a_run_on_and_brings_nobody_back_when_raised_CP_8(
    keeper: Keeper,
) -> None:
    two = Gate(brand="acme", needs="none", caps=(Cap(limit=2, per="day"),), gap_s=0)
    await note_contacts(
        keeper.connection, numbers(4), keeper.now - HOUR, run=5,
        brand=await admission.id_of(keeper.connection, "brand", "acme"),
    )  # fmt: skip
    run = await keeper.run(numbers(10), two)
    assert await keeper.ask(run, two) == {"send": 10}
    keeper.now += timedelta(minutes=30)
    await brands.lower(keeper.connection, "acme", (Cap(limit=1, per="day"),), 0, now=keeper.now, by="me")
    assert await keeper.ask(run, two) == {"cap:0": 4, "send": 6}
    await brands.lower(keeper.connection, "acme", (Cap(limit=9, per="day"),), 0, now=keeper.now, by="me")
    assert await keeper.ask(run, two) == {"cap:0": 4, "send": 6}


@pytest.mark.parametrize(
    ("passed", "berlin", "tokyo"),
    [("next_day", "hold", "hold"), ("now_if_open", "send", "missed"), ("skip", "missed", "missed")],
)
async def test_a_run_at_local_time_leaves_in_each_zone_at_its_own_QH_8(
    keeper: Keeper, passed: Any, berlin: str, tokyo: str
) -> None:
    """Made at noon in London for noon: in New York in five hours, in Berlin it was an hour ago; in Tokyo, nine."""
    local = Local(minute=12 * 60, day="2026-03-02", passed=passed, since=int(MONDAY_NOON.timestamp()))
    gate = Gate(needs="none", spread_s=0, local=local)
    run = await keeper.run([447700900001, 12125550100, 4915112345678, 819012345678], gate)
    counted = await keeper.ask(run, gate)
    expected: dict[str, int] = {}
    for word in ("send", "hold", berlin, tokyo):
        expected[word] = expected.get(word, 0) + 1
    assert counted == expected
    (held,) = keeper.waiting.values()
    moments = set(held.positions)
    assert MONDAY_NOON + 5 * HOUR in moments
    if passed == "next_day":
        assert moments == {MONDAY_NOON + at * HOUR for at in (5, 15, 23)}
    keeper.now = MONDAY_NOON + 5 * HOUR
    assert (await keeper.ask(run, gate))["send"] == (3 if passed == "now_if_open" else 2)
