"""What handsets write, heard and answered: rules IN-1 to IN-6 and IN-9 over a real Postgres."""

import asyncio
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import msgspec
import pytest

from gateway import app
from gateway.automation.replying import Replying
from gateway.automation.staffing import Desk
from gateway.campaign.answering import Asking, Suggestion
from gateway.config import Settings
from gateway.events import event
from gateway.inbox import Answering, InboxSettings, Rule
from gateway.keywords import tokens_of
from gateway.message import MessageClass
from gateway.person import hash_of
from gateway.question import Question
from gateway.simulator.behaviour import Inbound
from gateway.simulator.ledger import read
from gateway.store import conversations, events, stops
from gateway.store.conversations import Asked
from tests.fixtures.campaign import numbers
from tests.fixtures.conversations import DESK, NOW, NUMBER, SIZE, World, world
from tests.fixtures.engine import engine, until
from tests.fixtures.shop import Shop, settings_of

OPENED = "conversation_opened"


async def test_in_1_what_a_handset_writes_opens_a_conversation_and_goes_on_in_it(dsn: str) -> None:
    async with world(dsn) as w:
        await w.knows()
        await w.writes("hello")
        await w.hears()
        w.after(minutes=5)
        await w.writes("anybody there?")
        await w.hears()
        (one,) = await conversations.of_number(w.connection, NUMBER)
        assert (one.inbox, one.state, one.sender, one.assigned_to) == ("desk", 0, "12345", "anna")
        assert [said.text for said in await conversations.said(w.connection, one)] == ["hello", "anybody there?"]
        assert [name for name, _ in await w.told()] == [OPENED]


async def test_in_1_a_conversation_that_was_closed_for_a_week_is_followed_by_another_that_knows_it(dsn: str) -> None:
    async with world(dsn) as w:
        await w.knows()
        await w.writes("one")
        await w.hears()
        for days, count in ((6, 1), (8, 2)):
            await w.connection.execute("UPDATE conversation SET state = 2, closed_at = $1, waits_since = NULL", w.now)
            w.after(days=days)
            await w.writes("again")
            await w.hears()
            found = await conversations.of_number(w.connection, NUMBER)
            assert len(found) == count and found[0].state == 0
        assert found[0].before == found[1].id
        assert [name for name, _ in await w.told()] == [OPENED, "conversation_reopened", OPENED]


async def test_in_1_each_inbox_has_a_conversation_of_its_own(dsn: str) -> None:
    async with world(dsn, desk=DESK, sales=InboxSettings(senders=("+44 20 7946 0000",))) as w:
        await w.writes("a", to="12345")
        await w.writes("b", to="442079460000")
        await w.writes("c", to="99999")
        await w.hears()
        found = await conversations.of_number(w.connection, NUMBER)
        assert sorted(one.inbox for one in found) == ["", "desk", "sales"]


@pytest.mark.covers("S2.5")
async def test_in_1_a_reply_is_to_the_campaign_that_was_sent_last_and_is_assigned_by_its_rule(dsn: str) -> None:
    desk = msgspec.structs.replace(DESK, rules=(Rule(campaign="spring*", agents=("bert",)),))
    async with world(dsn, desk=desk) as w:
        await w.was_sent("winter")
        w.after(seconds=1)
        await w.was_sent("spring sale")
        w.after(minutes=1)
        await w.writes("is it still on?")
        await w.hears()
        one = await w.conversation()
        assert (one.campaign, one.assigned_to) == ("spring sale", "bert")
        assert (await w.told())[0][1]["campaign"] == "spring sale"


@pytest.mark.covers("S0.18", "S0.20", "S4.25", "S4.28")
async def test_in_9_an_answer_is_told_as_declared_and_is_an_attribute_at_once(dsn: str) -> None:
    async with world(dsn) as w:
        await w.asks(msgspec.structs.replace(SIZE, right="l"), enrolment=77)
        await w.writes("the LARGE one please")
        await w.hears()
        told = {name: properties for name, properties in await w.told()}
        assert told["answered"] == {
            "question": "size", "campaign": "survey", "enrolment": 77, "step": "ask", "visit": 1, "value": "l",
            "type": "choice", "is_right": True,
        }  # fmt: skip
        row = await w.connection.fetchrow("SELECT attributes ->> 'size' AS size FROM profile WHERE number = $1", NUMBER)
        assert row["size"] == "l"
        source = await w.connection.fetchval("SELECT source FROM person_event WHERE name = 'answered'")
        assert source == "declared"
        assert await w.connection.fetchval("SELECT count(*) FROM open_question") == 0
        assert (await w.conversation()).waits_since is None, "nobody has to read an answer"


async def test_in_9_what_cannot_be_read_is_asked_again_twice_and_is_a_person_s_then(dsn: str) -> None:
    async with world(dsn) as w:
        await w.knows(language="fr")
        await w.asks(
            Question(name="n", type="number", text="How many?", retry={"en": "A number?", "fr": "Un nombre ?"})
        )
        for _ in range(3):
            await w.writes("plenty")
            await w.hears()
            w.after(minutes=1)
        assert await w.texts() == ["Un nombre ?", "Un nombre ?"]
        assert [(name, p.get("why")) for name, p in await w.told()] == [
            (OPENED, None),
            ("question_closed", "unreadable"),
        ]
        assert (await w.conversation()).waits_since is not None


async def test_in_9_a_question_that_is_skipped_or_too_late_is_closed_and_says_why(dsn: str) -> None:
    async with world(dsn) as w:
        await w.knows()
        await w.asks(msgspec.structs.replace(SIZE, skip="SKIP"))
        await w.writes("skip")
        await w.hears()
        await w.asks(SIZE, visit=2)
        w.after(days=1)
        await w.writes("large")
        await w.hears()
        w.after(seconds=6)
        await w.hears()
        told = [(name, p.get("why")) for name, p in await w.told()]
        assert Counter(told) == {
            (OPENED, None): 1, ("question_closed", "skipped"): 1, ("question_closed", "timeout"): 1,
        }  # fmt: skip
        assert (await w.conversation()).waits_since is not None, "what comes too late is no answer"


async def test_in_2_the_newest_of_two_questions_is_the_one_that_is_answered(dsn: str) -> None:
    async with world(dsn) as w:
        await w.asks(SIZE, enrolment=1)
        w.after(minutes=1)
        await w.asks(msgspec.structs.replace(SIZE, name="second"), enrolment=2)
        w.after(minutes=1)
        await w.writes("small")
        await w.writes("large")
        await w.hears()
        answers = [(p["question"], p["value"]) for name, p in await w.told() if name == "answered"]
        assert answers == [("second", "s"), ("size", "l")]


@pytest.mark.parametrize("text", ["STOP", "stop please", "HELP", "START", "UNSUBSCRIBE"])
async def test_in_2_words_of_compliance_answer_no_question_and_begin_nothing(dsn: str, text: str) -> None:
    async with world(dsn) as w:
        await w.knows()
        await conversations.set_keywords(w.connection, "join", [("STOP", ""), ("HELP", ""), ("START", "")])
        await w.asks(Question(name="why", type="text", text="Why?"))
        await w.writes(text)
        await w.hears()
        assert [name for name, _ in await w.told()] == [OPENED]
        assert await w.texts() == [] and (await w.conversation()).waits_since is None
        assert await w.connection.fetchval("SELECT count(*) FROM open_question") == 1


@pytest.mark.covers("S4.51")
async def test_in_2_a_keyword_is_told_of_whoever_writes_it_with_where_it_was_written(dsn: str) -> None:
    async with world(dsn, desk=DESK, shop=InboxSettings(senders=("555",))) as w:
        await conversations.set_keywords(w.connection, "club", [("JOIN", "desk"), ("Beitreten", "desk")])
        await conversations.set_keywords(w.connection, "any", [("join", "")])
        await w.writes("Join, please!")
        await w.writes("JOIN", NUMBER + 1, to="555")
        await w.writes("i want to join you", NUMBER + 2)
        await w.hears()
        told = [(p["word"], p["sender"]) for name, p in await w.told() if name == "keyword"]
        assert told == [("join", "12345")], "once, whichever campaigns have it"
        assert [p["inbox"] for name, p in await w.told(NUMBER + 1) if name == "keyword"] == ["shop"]
        assert await w.told(NUMBER + 2) == []
        await conversations.set_keywords(w.connection, "club", [])
        assert {campaign for _, _, campaign in await conversations.keywords(w.connection)} == {"any"}


async def test_in_2_a_yes_that_lifted_a_stop_answers_no_question(dsn: str) -> None:
    async with world(dsn) as w:
        await w.asks(Question(name="q", type="yes_no", text="?"))
        id_ = await w.writes("yes")
        async with w.connection.transaction():
            await events.take_turn(w.connection, w.lane)
            started = event("start.received", w.now, f"+{NUMBER}", message=id_, number=NUMBER, scope="*", is_new=True)
            await events.append(w.connection, w.lane, [started])
        await w.writes("yes", NUMBER)
        await w.hears()
        said = [p for name, p in await w.told() if name == "answered"]
        assert len(said) == 1, "the second one is an answer"


async def test_in_8_who_has_said_stop_is_sent_nothing_by_itself_and_what_was_owed_is_noted(dsn: str) -> None:
    async with world(dsn) as w:
        await w.asks(Question(name="n", type="number", text="How many?"))
        await stops.enter(w.connection, [NUMBER], ["*"], is_stop=True, at=w.now, source="keyword")
        await w.writes("plenty")
        await w.hears()
        assert await w.texts() == [] and (await w.conversation()).waits_since is not None
        other = NUMBER + 1
        await w.asks(Question(name="n", type="number", text="How many?"), other)
        await w.writes("plenty", other)
        bucket = hash_of(other)

        class Late(Replying):
            async def _do_owed(self, connection: Any, now: Any) -> None:
                """Let a STOP come between the decision and the answer."""
                await stops.enter(connection, [other], ["*"], is_stop=True, at=now, source="keyword")
                await super()._do_owed(connection, now)

        job = Late(w.settings, lambda: w.now, lambda: asyncpg.connect(dsn), "w1", Random(1))
        await job.round()
        await job.close()
        assert await w.texts(other) == []
        assert await w.connection.fetchval("SELECT count(*) FROM conversation_owed WHERE bucket = $1", bucket) == 0
        said = await conversations.said(w.connection, await w.conversation(other))
        assert said[-1].text == "not sent: they have been stopped meanwhile"


@pytest.mark.covers("S4.60")
async def test_in_5_outside_hours_the_answer_goes_out_once_in_twelve_hours_a_conversation(dsn: str) -> None:
    async with world(dsn) as w:
        w.after(hours=10)
        for hours in (0, 1, 12):
            w.after(hours=hours)
            if hours == 12:
                w.now = NOW + timedelta(days=1, hours=10, minutes=1)
            await w.writes("hello?")
            await w.hears()
        assert await w.texts() == ["We are back at nine."] * 2
        assert (await w.conversation()).waits_since == NOW + timedelta(hours=10), "it waits for a person all the same"


async def test_in_4_a_late_answer_is_told_once_and_an_agent_who_is_silent_loses_the_conversation(dsn: str) -> None:
    async with world(dsn) as w:
        await w.knows()
        await w.writes("my order is broken")
        await w.hears()
        assert (await w.conversation()).assigned_to == "anna"
        w.after(minutes=31)
        await w.hears()
        assert (await w.conversation()).assigned_to == "bert", "half an hour without an answer"
        for _ in range(2):
            w.after(minutes=30)
            await w.hears()
        rows = [one for one in await events.after(w.connection, w.lane, 0) if one.kind == "conversation.late"]
        assert [row.body["inbox"] for row in rows] == ["desk"] and rows[0].body["is_first"]
        assert [name for name, _ in await w.told()].count("conversation_late") == 1


async def test_in_4_what_came_at_night_is_somebody_s_in_the_morning(dsn: str) -> None:
    async with world(dsn) as w:
        w.after(hours=10)
        await w.writes("good night")
        await w.hears()
        assert (await w.conversation()).assigned_to == ""
        w.now = NOW + timedelta(days=1) - timedelta(hours=2, minutes=59)
        await w.hears()
        one = await w.conversation()
        assert one.assigned_to == "anna"
        assert one.answer_due == NOW + timedelta(days=1) - timedelta(hours=2), "an hour behind the opening"


async def test_in_10_the_number_of_a_card_is_kept_nowhere(dsn: str) -> None:
    async with world(dsn) as w:
        await conversations.set_keywords(w.connection, "c", [("pay 4111 1111 1111 1111", "")])
        id_ = await w.writes("my card is 4111 1111 1111 1111 thanks")
        await w.hears()
        found = await conversations.said(w.connection, await w.conversation())
        assert found[0].text == "my card is •••• •••• •••• 1111 thanks"
        kept = await w.connection.fetch(
            "SELECT text FROM inbound_message WHERE id = $1 UNION ALL SELECT body::text FROM event UNION ALL "
            "SELECT encode(octets || pdu, 'escape') FROM inbound UNION ALL SELECT body::text FROM conversation_owed "
            "UNION ALL SELECT properties::text FROM person_event", id_,
        )  # fmt: skip
        assert len(kept) >= 3 and not [row for row in kept if "4111" in row["text"]]


class Fake:
    """An answerer that says what a test wants."""

    def __init__(self, *says: Suggestion | Exception | None):
        self.says, self.asked = list(says), list[Asking]()

    async def suggest(self, asking: Asking) -> Suggestion | None:
        self.asked.append(asking)
        said = self.says.pop(0)
        if isinstance(said, Exception):
            raise said
        return said


ANSWERED = InboxSettings(senders=("12345",), answering=Answering(enabled=True, knowledge="x"), agents=DESK.agents)
SURE, UNSURE = Suggestion(text="At nine.", confidence=0.9), Suggestion(text="At ten?", confidence=0.4)


async def talked(w: World, fake: Fake, *texts: str) -> list[str]:
    """Have a handset write one text after the other; -> what it is answered."""
    w.answerers = {"desk": fake}
    for text in texts:
        await w.writes(text)
        await w.hears()
        w.after(minutes=1)
    return await w.texts()


@pytest.mark.covers("S4.22", "S4.24")
async def test_in_6_a_certain_answer_is_sent_and_says_that_no_person_wrote_it(dsn: str) -> None:
    async with world(dsn, desk=ANSWERED) as w:
        fake = Fake(SURE)
        assert await talked(w, fake, "when do you open?") == ["Automatic answer: At nine."]
        one = await w.conversation()
        assert one.waits_since is None and not one.is_handed_over and one.assigned_to == ""
        assert fake.asked[0].text == "when do you open?"


@pytest.mark.covers("S4.23")
async def test_in_6_low_confidence_hands_over_and_it_is_silent_until_a_person_gives_it_back(dsn: str) -> None:
    async with world(dsn, desk=ANSWERED) as w:
        await w.knows()
        fake = Fake(UNSURE, SURE)
        assert await talked(w, fake, "when do you open?", "hello?") == []
        one = await w.conversation()
        assert one.is_handed_over and one.assigned_to == "anna" and len(fake.asked) == 1
        assert [p["why"] for name, p in await w.told() if name == "conversation_handed_over"] == ["unsure"]
        kinds = [row.kind for row in await events.after(w.connection, w.lane, 0)]
        assert kinds.count("conversation.handed_over") == 1


async def test_in_6_two_messages_without_an_answer_hand_over_and_one_is_read_by_a_person(dsn: str) -> None:
    async with world(dsn, desk=ANSWERED) as w:
        fake = Fake(None, RuntimeError("the plug-in is broken"))
        assert await talked(w, fake, "how is it?") == []
        one = await w.conversation()
        assert not one.is_handed_over and one.assigned_to == "anna" and one.misses == 1
        await talked(w, fake, "well?")
        assert (await w.conversation()).is_handed_over


@pytest.mark.parametrize("text", ["an agent please", "I was charged twice", "you are useless", "it cost 250 EUR"])
async def test_in_6_what_only_a_person_answers_is_not_even_shown_to_it(dsn: str, text: str) -> None:
    async with world(dsn, desk=ANSWERED) as w:
        fake = Fake()
        assert await talked(w, fake, text) == []
        assert not fake.asked and (await w.conversation()).is_handed_over


async def test_in_6_it_is_off_by_default_and_the_switch_in_the_settings_beats_everything(dsn: str) -> None:
    for answering in (Answering(), Answering(enabled=False, knowledge="x")):
        assert app.answerers(settings_with(answering)) == {}
    desk = msgspec.structs.replace(ANSWERED, answering=Answering(enabled=False, knowledge="x"))
    async with world(dsn, desk=desk) as w:
        fake = Fake()
        assert await talked(w, fake, "when do you open?") == [] and not fake.asked


def settings_with(answering: Answering) -> Any:
    return Settings(inboxes={"desk": msgspec.structs.replace(ANSWERED, answering=answering)})


ROUNDS = """
import asyncio, os, signal, sys
import asyncpg
from random import Random
from datetime import timedelta
from gateway.automation.replying import Replying
from gateway.automation.staffing import Desk
from gateway.config import CarrierSettings, Settings
from tests.fixtures.conversations import DESK, NOW

class Dying(asyncpg.Connection):
    left = int(sys.argv[2])
    async def _count(self):
        Dying.left -= 1
        if Dying.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    async def execute(self, *a, **k):
        await self._count()
        return await super().execute(*a, **k)
    async def fetch(self, *a, **k):
        await self._count()
        return await super().fetch(*a, **k)
    async def fetchval(self, *a, **k):
        await self._count()
        return await super().fetchval(*a, **k)

async def main():
    settings = Settings(carriers={"acme": CarrierSettings(host="x")}, inboxes={"desk": DESK})
    at = NOW + timedelta(minutes=1)
    job = Replying(settings, lambda: at, lambda: asyncpg.connect(sys.argv[1], connection_class=Dying), "w1", Random(3))
    await job.round()
    await job.close()

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("statement", [5, 9, 12, 15, 18, 21, 24, 28, 33, 38, 44, 50, 58])
async def test_in_2_a_worker_that_is_killed_at_any_statement_answers_once_and_tells_once(
    dsn: str, statement: int
) -> None:
    async with world(dsn) as w:
        await conversations.set_keywords(w.connection, "club", [("JOIN", "")])
        await w.asks(Question(name="n", type="number", text="How many?"))
        await w.asks(SIZE, NUMBER + 1)
        await w.writes("plenty")
        await w.writes("large", NUMBER + 1)
        await w.writes("JOIN", NUMBER + 2)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", ROUNDS, dsn, str(statement))
        async with asyncio.timeout(60):
            assert await process.wait() in (-9, 0)
        w.after(minutes=2)
        for _ in range(2):
            await w.hears()
        assert await w.texts() == ["How many?"]
        assert [name for name, _ in await w.told(NUMBER + 1)].count("answered") == 1
        assert [name for name, _ in await w.told(NUMBER + 2)].count("keyword") == 1
        tried = await w.connection.fetchval("SELECT tried FROM open_question WHERE number = $1", NUMBER)
        assert tried == 1 and await w.connection.fetchval("SELECT count(*) FROM conversation_owed") == 0
        assert await w.connection.fetchval("SELECT count(*) FROM conversation") == 3


@pytest.mark.covers("S4.19")
async def test_in_9_handsets_of_the_simulator_are_asked_again_by_submit_sm_until_they_answer(
    dsn: str, tmp_path: Path
) -> None:
    """End to end: a real worker, Postgres and SMSC. deliver_sm comes, what it means is told, submit_sm goes back."""
    ledger = tmp_path / "ledger.csv"
    inbound = Inbound(reply_share=1.0, reply_delay_ms=20, texts=("maybe", "yes please"))
    async with engine(dsn, ledger, inbound=inbound) as e:
        people = numbers(8)
        question = Question(name="again", type="yes_no", text="Again?", retry="Yes or no?")
        now = app.CLOCK.wall()
        for number in people:
            asked = Asked(number=number, enrolment=1, step="s", visit=1, question=question, asked_at=now,
                          until=now + timedelta(hours=1), campaign="survey")  # fmt: skip
            async with e.connection.transaction():
                await conversations.ask(e.connection, hash_of(number), [asked])
        run = await e.run(people)
        worker = await e.start()
        job = Replying(e.settings(), app.CLOCK.wall, worker.connect, worker.instance, Random(1))
        job.ROUND_S = 0.05  # type: ignore[misc]
        running = asyncio.create_task(job.run())
        try:

            async def is_over() -> bool:
                return await e.connection.fetchval("SELECT count(*) FROM open_question") == 0

            await until(is_over, "every question is answered or given up")
            await e.ends(run, receipts=False)

            async def is_told() -> bool:
                said = "SELECT count(*) FROM person_event WHERE name IN ('answered', 'question_closed')"
                given_up = "SELECT count(*) FROM conversation WHERE waits_since IS NOT NULL"
                counted = await e.connection.fetchval(said) + await e.connection.fetchval(given_up)
                return bool(counted >= len(people))

            await until(is_told, "and told")
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await e.stop(worker)
        asked_again = Counter(
            row["number"] for row in await e.connection.fetch(
                "SELECT p.msisdn[1] AS number FROM chunk k JOIN chunk_payload p ON p.chunk_id = k.id "
                "WHERE k.class = $1",
                MessageClass.CONVERSATION,
            )
        )  # fmt: skip
        sent = Counter(int(one.destination) for one in read(ledger))
        assert asked_again and max(asked_again.values()) <= 2
        assert {number: sent[number] - 1 for number in asked_again} == dict(asked_again), "each left as one submit_sm"
        answers = await e.connection.fetch(
            "SELECT properties ->> 'value' AS v FROM person_event WHERE name = 'answered'"
        )
        assert answers and {row["v"] for row in answers} == {"true"}


def test_words_of_campaigns_are_compared_as_people_write_them() -> None:
    assert tokens_of("  Jóin! ") == tokens_of("JOIN")


SURVEY = """
name = "survey"
kind = "workflow"
brand = "acme"
[trigger]
on = "keyword"
words = ["QUIZ"]
[[steps]]
do = "ask"
name = "size"
text = "Small or large?"
attribute = "size"
within = "2h"
then = "thanks"
otherwise = "sorry"
[steps.question]
type = "choice"
choices = [{value = "small"}, {value = "large"}]
[[steps]]
do = "send"
name = "thanks"
text = "Thank you"
next = "exit"
[[steps]]
do = "send"
name = "sorry"
text = "Another time"
"""


@pytest.mark.covers("S0.18", "S4.20", "S4.25", "S4.44")
async def test_in_9_a_workflow_begins_by_a_keyword_asks_and_goes_the_way_of_the_answer(dsn: str) -> None:
    settings = settings_of(dsn)
    shop = await Shop.open(dsn, settings)
    try:
        async with world(dsn) as w:
            w.settings, w.now = settings, shop.now
            people = [NUMBER, NUMBER + 1]
            await shop.people(people)
            await shop.apply(SURVEY)
            for number in people:
                await w.writes("quiz", number)
            await w.hears()
            await shop.goes_on(timedelta(seconds=1))
            assert sorted(await shop.texts()) == [(number, "Small or large?") for number in people]
            w.now = shop.now + timedelta(minutes=1)
            await w.writes("the large one", NUMBER)
            await w.hears()
            await shop.goes_on(timedelta(minutes=2))
            await shop.goes_on(timedelta(hours=3))
            said = [one for one in await shop.texts() if one[1] != "Small or large?"]
            assert sorted(said) == [(NUMBER, "Thank you"), (NUMBER + 1, "Another time")]
            row = "SELECT attributes ->> 'size' FROM profile WHERE number = $1"
            assert [await w.connection.fetchval(row, number) for number in people] == ["large", None]
    finally:
        shop.close()


OFFER = """
name = "{name}"
brand = "acme"
class = "{class_}"
message = {{text = "{name}"}}
[trigger]
on = "event"
event = "visit"
"""


async def test_in_7_a_campaign_s_promotional_text_waits_until_a_day_behind_the_conversation(dsn: str) -> None:
    settings = settings_of(dsn)
    shop = await Shop.open(dsn, settings)
    try:
        async with world(dsn) as w:
            w.settings, w.now = settings, shop.now
            await shop.people([NUMBER, NUMBER + 1])
            for name, class_ in (("offer", "triggered"), ("receipt", "transactional")):
                await shop.apply(OFFER.format(name=name, class_=class_))
            await w.writes("it is broken")
            await w.hears()
            desk = Desk(w.connection, settings, "anna", w.now, Random(1))
            id_ = (await w.conversation()).id
            await desk.reply(id_, "let me see")
            for number in (NUMBER, NUMBER + 1):
                await shop.tells(number, "visit")
            await shop.goes_on(timedelta(hours=2))
            assert sorted(await shop.texts()) == [(NUMBER, "receipt"), (NUMBER + 1, "offer"), (NUMBER + 1, "receipt")]
            await Desk(w.connection, settings, "anna", shop.now, Random(2)).close(id_)
            await shop.goes_on(timedelta(hours=23, minutes=59))
            assert (NUMBER, "offer") not in await shop.texts()
            await shop.goes_on(timedelta(hours=1))
            assert (await shop.texts()).count((NUMBER, "offer")) == 1
    finally:
        shop.close()
