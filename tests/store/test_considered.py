"""Who is considered for a run: in its list or skipped for a reason, and the sum of both is the audience."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from _fastpath.gate import Questions, Rules, Windows, Zones
from _fastpath.peoplerows import bucket
from gateway.campaign.audience import parse
from gateway.campaign.consent import merged, states_at
from gateway.campaign.evaluation import Event, Person
from gateway.consent import Fact, State
from gateway.dispatch.admission import learn_consent
from gateway.errors import StoreError
from gateway.gate import Gate, Needs
from gateway.predicate import since
from gateway.reasons import Reason
from gateway.store import admission, considered, people, postgres, selection
from gateway.store import consents as consents_of
from gateway.store.audiences import Terms
from tests.fixtures.audiences import NOW, write_people

TERMS = Terms(now=NOW)
FIRST = 447700900001
OPEN = Gate(needs="none")
TABLES = "profile, consent, consent_head, consent_state, consent_page, list_entry, contact_list, run_skipped"


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    yield opened
    await postgres.close(opened)


async def consents(connection: Any, by_number: dict[int, tuple[int, int]], brand: str = "acme") -> None:
    """Let numbers stand so with a brand: promotional, transactional."""
    await connection.executemany(
        "INSERT INTO consent_state (bucket, number, brand, promotional, transactional, night) "
        "VALUES ($1, $2, $3, $4, $5, 0)",
        [(bucket(number), number, brand, *states) for number, states in by_number.items()],
    )
    await admission.refresh_consent_pages(connection, [(number, brand) for number in by_number])


async def listed(connection: Any, text: str, gate: Gate, run: int = 7) -> list[int]:
    """Freeze an audience for a run; -> its numbers."""
    made = await people.open_list(connection, f"run {run}", source_name="", source_sha256=b"", fields=[], now=NOW)
    count = await considered.freeze(connection, parse(text), TERMS, gate, run, made.id, [])
    rows = await connection.fetch("SELECT number FROM list_entry WHERE list = $1 ORDER BY number", made.id)
    assert len(rows) == count
    return [row["number"] for row in rows]


async def test_who_is_in_no_chunk_has_a_reason_and_the_sum_is_the_audience_SG_10(connection: Any) -> None:
    crowd = [
        *(Person(number=FIRST + at) for at in range(40)),
        *(Person(number=FIRST + at % 5) for at in range(12)),
        *(Person() for _ in range(9)),
    ]
    await write_people(connection, crowd)
    await consents(connection, {FIRST + at: ((2, 1, 0, 3)[at % 4], 0) for at in range(36)})
    gate = Gate(brand="acme")
    found = await considered.count(connection, parse("everyone"), TERMS, gate)
    assert found.people == len(crowd)
    assert found.skipped == {
        Reason.NO_NUMBER: 9, Reason.DUPLICATE_ENDPOINT: 12, Reason.PENDING_CONSENT: 9, Reason.NO_CONSENT: 13,
    }  # fmt: skip
    numbers = await listed(connection, "everyone", gate)
    # Who has taken consent back goes to the gate, which knows why.
    assert numbers == [FIRST + at for at in range(36) if at % 4 in (0, 3)] and len(numbers) == found.numbers
    assert await considered.skipped(connection, 7) == found.skipped
    for number, reasons in ((FIRST + 1, [-31, -52]), (FIRST + 2, [-30, -52]), (FIRST, [-52]), (FIRST + 39, [-30])):
        assert await considered.why_skipped(connection, bucket(number), 7, number) == reasons
    assert await considered.why_skipped(connection, bucket(FIRST + 8), 7, FIRST + 8) == []


@dataclass
class Ladder:
    """Every pair of words for both classes, one number each."""

    needs: Needs
    rule: int


@pytest.mark.parametrize("case", [Ladder("promotional", 1), Ladder("transactional", 2)], ids=lambda case: case.needs)
async def test_consent_is_judged_for_the_list_as_the_gate_judges_it_CN_2(connection: Any, case: Ladder) -> None:
    states = {FIRST + 4 * one + other: (one, other) for one in range(4) for other in range(4)}
    await write_people(connection, [Person(number=number) for number in states])
    await consents(connection, states)
    gate = Gate(brand="acme", needs=case.needs)
    octets = await considered.numbers(connection, parse("everyone"), TERMS, OPEN)
    questions = Questions.of_numbers(octets, Zones([0], [1]))
    questions.read_consent(await admission.consent(connection, questions.spans(), "acme"))
    windows = Windows(1)
    windows.enter(1, 0, False, None, None, spans=[(0, 2)] * 3)
    questions.judge(Rules(run=1, class_=5, needs=case.rule, has_windows=False), windows)
    wanted = [number for number in states if questions.verdict(number)[0] in (0, Reason.STOP)]
    assert await listed(connection, "everyone", gate) == wanted
    expected = {reason: n for reason, n in questions.verdicts().items() if reason in (-30, -31)}
    assert await considered.skipped(connection, 7) == expected


FACTS = st.lists(
    st.tuples(
        st.sampled_from(("grant", "pending", "revoke")),
        st.sampled_from(("acme", "acme/club", "acme/news", "*")),
        st.sampled_from(("promotional", "transactional")),
        st.integers(1, 30),
    ).filter(lambda one: one[0] == "revoke" or one[1] != "*"),
    max_size=5,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(FACTS, min_size=1, max_size=12), st.sampled_from(("promotional", "transactional")))
def test_a_brand_and_its_programmes_are_read_alike_by_ledger_gate_list_and_audience_CN_7(
    dsn: str, told: list[list[tuple[Any, str, Any, int]]], needs: Needs
) -> None:
    """Whatever was said, of whichever of them, in whatever order."""

    async def compare(connection: Any) -> None:
        await connection.execute(f"TRUNCATE {TABLES}")
        people = {FIRST + at: facts for at, facts in enumerate(told)}
        await write_people(connection, [Person(number=number) for number in people])
        facts = [
            Fact(
                number=number, brand=brand, class_=class_, action=action, source="form", method="box", wording="Texts",
                effective_at=NOW - timedelta(minutes=minutes), recorded_at=NOW,
            )
            for number, some in people.items() for action, brand, class_, minutes in some
        ]  # fmt: skip
        await consents_of.append(connection, facts, lambda some: states_at(some, NOW))
        states = await consents_of.states_of(connection, list(people))
        for run, programme in enumerate(("", "club", "news")):
            gate = Gate(brand="acme", programme=programme, needs=needs)
            meant = {number: merged(some, gate.consent_of) for number, some in states.items()}
            octets = await considered.numbers(connection, parse("everyone"), TERMS, OPEN)
            questions = Questions.of_numbers(octets, Zones([0], [1]))
            await learn_consent(connection, questions, gate)
            windows = Windows(1)
            windows.enter(1, 0, False, None, None, spans=[(0, 2)] * 3)
            questions.judge(
                Rules(run=1, class_=5, needs=1 if needs == "promotional" else 2, has_windows=False), windows
            )
            verdicts = {number: questions.verdict(number)[0] for number in people}
            has_agreed = {
                number
                for number, one in meant.items()
                if State.GRANTED in (one.promotional, one.transactional if needs == "transactional" else State.NONE)
            }
            assert {number for number, verdict in verdicts.items() if verdict == 0} == has_agreed
            numbers = await listed(connection, "everyone", gate, run)
            assert numbers == [number for number, verdict in verdicts.items() if verdict in (0, Reason.STOP)]
            found = await considered.count(connection, parse("everyone"), TERMS, gate)
            expected = Counter(verdict for verdict in verdicts.values() if verdict in (-30, -31))
            assert found.skipped == expected == await considered.skipped(connection, run)
            tree = parse(f"consent({needs}, '{gate.consent_of}')")
            counted = await selection.count(connection, tree, TERMS)
            assert counted.people == sum(getattr(one, needs) == State.GRANTED for one in meant.values())

    async def opened() -> None:
        connection = await postgres.connect(dsn)
        try:
            await compare(connection)
        finally:
            await postgres.close(connection)

    asyncio.run(opened())


async def test_who_is_suppressed_goes_to_the_gate_whatever_his_consent_which_tells_why_CN_11(connection: Any) -> None:
    await write_people(connection, [Person(number=FIRST), Person(number=FIRST + 1)])
    await connection.execute("INSERT INTO suppression (number, scope, since) VALUES ($1, '*', 1)", FIRST)
    assert await listed(connection, "everyone", Gate(brand="acme")) == [FIRST]


async def test_a_list_is_frozen_as_it_was_and_what_is_too_dear_is_refused(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_people(connection, [Person(number=FIRST)])
    assert await listed(connection, "everyone", OPEN) == [FIRST]
    monkeypatch.setattr(selection, "MOST_COST", 0.001)
    with pytest.raises(StoreError, match="planner"):
        await considered.count(connection, parse("everyone"), TERMS, OPEN)
    with pytest.raises(StoreError, match="planner"):
        await listed(connection, "everyone", OPEN, run=8)
    assert await considered.skipped(connection, 8) == {}


def of_octets(octets: bytes) -> dict[int, int]:
    """(number, reason) of records: rows of 4 + 8 + 8 + 8 + 2 octets."""
    rows = [octets[at : at + 30] for at in range(0, len(octets), 30)]
    return {int.from_bytes(row[12:20]): int.from_bytes(row[28:30], signed=True) for row in rows}


async def test_of_a_claim_those_are_named_who_left_the_audience_SG_6(connection: Any) -> None:
    crowd = [Person(number=FIRST + at, attributes={"city": "Wien" if at % 3 else "Linz"}) for at in range(12)]
    # Of two people with one number one still belongs.
    crowd.append(Person(number=FIRST, attributes={"city": "Wien"}))
    await write_people(connection, crowd)
    asked = "{" + ",".join(str(FIRST + at) for at in range(13)) + "}"
    found = of_octets(await considered.left(connection, asked, parse("city = 'Wien'"), TERMS))
    assert found == dict.fromkeys([FIRST + 3, FIRST + 6, FIRST + 9, FIRST + 12], Reason.AUDIENCE_LEFT)


async def test_what_must_not_have_happened_counts_from_when_the_run_was_made_EX_2(connection: Any) -> None:
    def bought(hours: float) -> tuple[Event, ...]:
        return (Event(id=1, name="order", occurred_at=NOW + timedelta(hours=hours), properties={}),)

    crowd = [Person(number=FIRST + at, events=bought(hours)) for at, hours in enumerate((-3, -1, 0, 1))]
    await write_people(connection, crowd)
    asked = "{" + ",".join(str(FIRST + at) for at in range(4)) + "}"
    tree = since(parse("did(order)"), NOW - timedelta(hours=1))
    found = of_octets(await considered.excepted(connection, asked, tree, TERMS))
    assert found == dict.fromkeys([FIRST + 1, FIRST + 2, FIRST + 3], Reason.EXCEPTION)


async def test_a_salt_is_read_and_never_made_by_who_asks_at_the_gate_SG_8(connection: Any) -> None:
    assert await considered.salt(connection) == ""
    assert await selection.salt(connection, "first") == "first" == await considered.salt(connection)
