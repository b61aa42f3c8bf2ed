"""`sluice experiment`: what is compared, what it says, and a person's word on it: rules AB-3 to AB-9."""

import asyncio
import random
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import msgspec
import pytest

from gateway.commands import _experiment
from gateway.commands.experiment import Document
from gateway.experiment import Arm, Split, Sums, allocation_of
from gateway.person import Item, Who, hash_of
from gateway.store import experiments
from gateway.store.profiles import ingest

FILE = """
[experiment]
name = "spring"
minimum_effect = 0.05
baseline = 0.10
holdout = 10
currency = "EUR"
[[experiment.variant]]
name = "A"
weight = 50
text = "Spring is here"
[[experiment.variant]]
name = "B"
weight = 50
text = "Spring is here: -20 %"
"""
FIRST = 447_700_900_000


@pytest.fixture
def spring(tmp_path):
    def write(text=FILE, name="spring.toml"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def people(dsn, counts):
    """Assign and reach people of the experiment, from the control on: how many, and how many of them bought."""

    async def give():
        connection = await asyncpg.connect(dsn)
        try:
            kept = await experiments.named(connection, "spring")
            at = datetime.now(UTC) - timedelta(hours=2)
            number, items = FIRST, []
            for arm, (count, bought) in enumerate(counts):
                some = range(number, number + count)
                number += count
                for bucket in range(256):
                    theirs = [one for one in some if hash_of(one) == bucket]
                    await experiments.assign(connection, kept.id, bucket, theirs, [arm] * len(theirs), version=1, at=at)
                    await experiments.reach(connection, kept.id, bucket, theirs, at=at)
                items += [
                    Item(who=Who(phone=one), event_id=f"{one}", name="order_placed", occurred_at=at,
                         properties={"order_id": f"{one}", "total": 25, "currency": "EUR"})
                    for one in some[:bought]
                ]  # fmt: skip
            await ingest(connection, items, datetime.now(UTC), random.Random(1))
        finally:
            await connection.close()

    asyncio.run(give())


def test_ab_9_an_experiment_is_applied_shown_with_its_labels_and_decided_by_a_person(here, queue, dsn, spring):
    assert here("experiment", "list").out == ""
    applied = here("experiment", "apply", spring())
    assert applied.code == 0, applied.err
    assert applied.out == "experiment spring, version 1: control 10 %, A 45 %, B 45 %\n"
    assert "nobody was assigned yet" in here("experiment", "show", "spring").out
    people(dsn, [(60, 3), (270, 21), (270, 60)])
    said = here("experiment", "show", "spring", "--attributed", "100000").out
    assert "! underpowered: 600 people of" in said and "too few to rank" not in said
    assert "B" in said and "22.22 %" in said and "A - B" in said and "attributed revenue: 100,000 minor units" in said
    assert "B beats all others; by the rule none yet; it is decided in 22.0 h" in said
    found = here("experiment", "show", "spring", "--json").json
    assert [arm["name"] for arm in found["arms"]] == ["control", "A", "B"]
    assert [arm["rank"] for arm in found["arms"]] == [None, 2, 1]
    assert found["labels"] == ["underpowered"] and found["beats_all"] == "B" and found["by_rule"] is None
    lift = {one["arm"]: one for one in found["lift"]}
    assert lift["B"]["conversions"] == pytest.approx(60 - 270 * 3 / 60)
    assert lift["all variants"]["revenue_low"] < lift["all variants"]["revenue"] == pytest.approx(135_000)
    assert found["pairs"][0]["adjusted_p"] < 0.05 and found["sample_ratio_p"] == pytest.approx(1)
    refused = here("experiment", "decide", "spring", "--winner", "C")
    assert refused.code == 65 and "winner: expected one of A, B, found 'C'" in refused.err
    decided = here("experiment", "decide", "spring", "--winner", "B", "--by", "ada", "--why", "clear enough")
    assert decided.code == 0 and decided.out == "experiment spring: B has won\n"
    [listed] = here("experiment", "list", "--json").json
    assert (listed["state"], listed["winner"], listed["decided_by"]) == ("decided", "B", "ada")
    assert "spring: is decided, B has won" in here("experiment", "list").out
    assert here("experiment", "show", "spring").out.rstrip().endswith("by ada: clear enough")
    again = here("experiment", "decide", "spring", "--winner", "A")
    assert again.code == 65 and "it is decided" in again.err


def test_rp_4_and_ab_7_what_forbids_a_verdict_is_said(here, queue, dsn, spring):
    here("experiment", "apply", spring())
    people(dsn, [(60, 3), (400, 10), (140, 12)])
    said = here("experiment", "show", "spring").out
    assert "! sample ratio mismatch: p = " in said and "! too few to rank: fewer than 20 conversions in an arm" in said
    assert "no verdict: look for what takes people out of one arm" in said
    found = here("experiment", "show", "spring", "--json").json
    assert found["beats_all"] is None and [arm["rank"] for arm in found["arms"]] == [None] * 3
    assert found["pairs"][0]["always_valid_low"] is None or found["pairs"][0]["always_valid_low"] < 0
    assert here("experiment", "stop", "spring", "--why", "broken").out == "experiment spring: stopped\n"
    assert "spring: was stopped" in here("experiment", "list").out


def test_ab_3_before_it_starts_it_is_said_what_it_takes(here, spring):
    said = here("experiment", "plan", spring(), "--people", "1000", "--per-day", "200").out.splitlines()
    assert said[0] == "control 10 %, A 45 %, B 45 %"
    assert "people tell 5 percentage points from nothing, four times of five" in said[1]
    assert said[2] == "1,000 people are in the test: underpowered" and said[3].startswith("so many can tell ")
    found = here("experiment", "plan", spring(), "--people", "1000", "--per-day", "200", "--json").json
    assert found["is_underpowered"] and found["days"] == pytest.approx(found["needed"] / 200)
    shared = FILE.replace("holdout = 10", "test_share = 20")
    told = here("experiment", "plan", spring(shared)).out
    assert told.startswith("A 10 %, B 10 %; 80 % wait for the winner")


@pytest.mark.parametrize(
    ("text", "name", "code", "said"),
    [
        (FILE.replace("holdout = 10", "holdout = 60"), "a.toml", 65, "<= 50.0 - at `$.experiment.holdout`"),
        (FILE.replace("weight", "wieght"), "a.toml", 65, "`wieght` - at `$.experiment.variant[0]`"),
        (FILE.replace("[[experiment", "[experiment"), "a.toml", 65, "at line 8"),
        (FILE.replace('"B"', '"hold"'), "a.toml", 78, "experiment.variant[2].name: expected a name of its own"),
        ("[]", "a.json", 65, "Expected `object`, got `array`"),
        ("\0", "a.json", 65, "JSON is malformed"),
    ],
)  # fmt: skip
def test_a_document_that_means_nothing_is_refused_with_its_place(here, spring, text, name, code, said):
    refused = here("experiment", "plan", spring(text, name))
    assert refused.code == code and said in refused.err


def test_json_is_read_too_and_what_is_not_there_is_named(here, queue, spring):
    text = '{"experiment": {"name": "x", "variant": [{"name": "A"}, {"name": "B"}]}}'
    assert here("experiment", "apply", spring(text, "x.json")).out == "experiment x, version 1: A 50 %, B 50 %\n"
    refused = here("experiment", "show", "y")
    assert refused.code == 65 and "experiment 'y': expected one of x" in refused.err
    assert here("experiment", "plan", "nowhere.toml").code == 65


def test_ab_1_variants_that_people_have_are_not_renamed_by_another_file(here, queue, spring):
    here("experiment", "apply", spring())
    assert ", version 2: " in here("experiment", "apply", spring(FILE.replace("weight = 50", "weight = 5"))).out
    refused = here("experiment", "apply", spring(FILE.replace('"B"', '"C"')))
    assert refused.code == 78 and "experiment spring: variant: expected A, B first" in refused.err


def test_example_of_the_documentation_is_what_is_printed():
    text = Path(__file__).parents[2].joinpath("docs/experiments.md").read_text("utf-8")
    written = "\n".join(line[4:] for line in text.splitlines() if line.startswith("    ") or not line)
    document = written[: written.index("sluice experiment plan")]
    experiment = msgspec.convert(tomllib.loads(document), Document).experiment
    assert "\n".join(_experiment.plan_lines(experiment, 20_000, None)) in written

    def arm(at, people, conversions, opt_outs, failures):
        assigned, reached = (
            Sums(people=n, conversions=c, payers=c, revenue=c * 4000, squares=c * 24e6)
            for n, c in zip(people, conversions, strict=True)
        )
        return Arm(arm=at, assigned=assigned, reached=reached, opt_outs=opt_outs, failures=failures)

    arms = (
        arm(0, (2013, 1905), (81, 79), 0, 0),
        arm(1, (4476, 4240), (223, 217), 14, 31),
        arm(2, (4511, 4270), (289, 283), 12, 35),
    )
    split = Split(
        shares=allocation_of(experiment).shares(),
        assigned=tuple(one.assigned.people for one in arms),
        reached=tuple(one.reached.people for one in arms),
    )
    now = datetime(2026, 3, 28, 12, tzinfo=UTC)
    kept = experiments.Kept(
        id=1, version=1, state="running", winner=None, stopped=(), made_at=now, decided_at=None, decided_by="", why="",
        name="spring", campaign="", body=experiment,
    )  # fmt: skip
    counted = experiments.Counted(arms=arms, splits=(split,), first_at=now - timedelta(hours=20))
    said = _experiment.lines(_experiment.shown(kept, counted, now, 1_950_000))
    assert "\n".join(said) in written
