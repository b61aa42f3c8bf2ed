"""Plans: what is wrong with one is said with its place, and who is looked at goes where it says."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway import document
from gateway.campaign import workflow
from gateway.campaign.delays import Clocks, due_at
from gateway.campaign.workflow import Facts, Outcome, Plan, Standing
from gateway.delay import Delay
from gateway.reasons import Reason

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
HEAD = """
name = "w"
kind = "workflow"
brand = "acme"
[trigger]
on = "event"
event = "began"
"""
PLAIN = """
[[steps]]
do = "wait"
for = "2d"
[[steps]]
do = "send"
name = "first"
text = "Hi"
[[steps]]
do = "wait_for"
event = "clicked"
within = "3d"
then = "exit"
[[steps]]
do = "send"
text = "Again"
"""


def plan_of(text: str) -> Plan:
    plan, problems = read(text)
    assert problems == []
    return plan


def read(text: str) -> tuple[Plan, list[tuple[str, str, str]]]:
    found, problems = document.read(text.encode())
    assert found is not None, problems
    return workflow.plan_of(found)


def due(delay: Delay, one: Standing, at: datetime) -> datetime | None:
    return due_at(delay, at, Clocks("UTC", "UTC"), {})


def go(plan: Plan, one: Standing, now: datetime, facts: Facts | None = None) -> Outcome:
    return workflow.advance(plan, one, facts or Facts(), now, "salt", due)


def standing(step: int = 0, visits: int = 1, at: datetime = NOW, until: datetime | None = None) -> Standing:
    return Standing(
        id=1, step=step, visits=visits, number=447700900001, anchor_at=NOW, entered_at=NOW, step_at=at, until_at=until
    )


def test_first_wait_begins_when_the_cause_happened_and_not_when_it_was_looked_at() -> None:
    """DL-1: exact elapsed time from occurred_at."""
    outcome = go(plan_of(HEAD + PLAIN), standing(visits=0), NOW + timedelta(hours=5))
    assert (outcome.place, outcome.until_at) == (0, NOW + timedelta(days=2))


def test_wait_ends_at_its_moment_and_not_before() -> None:
    plan, until = plan_of(HEAD + PLAIN), NOW + timedelta(days=2)
    before = go(plan, standing(until=until), until - timedelta(microseconds=1))
    assert (before.place, before.done) == (0, None)
    after = go(plan, standing(until=until), until)
    assert (after.place, after.visits, after.step_at) == (1, 2, until)


def test_wait_that_ended_too_long_ago_is_late() -> None:
    """DL-2."""
    until = NOW + timedelta(days=2)
    late = go(plan_of(HEAD + PLAIN), standing(until=until), until + timedelta(days=1, seconds=1))
    assert late.reason == Reason.LATE


def test_wait_for_takes_the_moment_of_what_happened_and_its_own_end_otherwise() -> None:
    """WF-6: the timeout branch exactly at anchor + T."""
    plan, until = plan_of(HEAD + PLAIN), NOW + timedelta(days=3)
    at = standing(2, 3, until=until)
    happened = go(plan, at, NOW + timedelta(days=1), Facts(happened={1: NOW + timedelta(hours=2)}))
    assert happened.reason == workflow.DONE  # it leads to the exit
    assert go(plan, at, NOW + timedelta(days=1)).place == 2
    over = go(plan, at, until + timedelta(hours=1))
    assert (over.place, over.step_at) == (3, until)
    too_late = go(plan, at, until + timedelta(hours=1), Facts(happened={1: until + timedelta(seconds=1)}))
    assert too_late.place == 3


def test_exception_goes_before_the_goal_and_both_before_the_step() -> None:
    plan = plan_of(HEAD + PLAIN)
    assert go(plan, standing(1), NOW, Facts(barred={1}, met={1})).reason == Reason.EXCEPTION
    assert go(plan, standing(1), NOW, Facts(met={1})).reason == Reason.GOAL_MET


def test_text_that_is_not_for_somebody_is_skipped_and_he_goes_on() -> None:
    """S2.16, EX-4: of the step."""
    plan = plan_of(HEAD + PLAIN)
    for facts, reason in ((Facts(out={1}), Reason.AUDIENCE_LEFT), (Facts(skipped={1}), Reason.EXCEPTION)):
        outcome = go(plan, standing(1), NOW, facts)
        assert (outcome.place, outcome.done, outcome.reason) == (2, reason, None)


def test_branch_goes_the_first_way_that_holds_and_else_otherwise() -> None:
    """WF-4."""
    text = '[[steps]]\ndo = "branch"\notherwise = "c"\ncases = [{if = "orders > 1", then = "a"}, '
    text += '{if = "orders > 0", then = "b"}]\n'
    text += "".join(f'[[steps]]\ndo = "send"\nname = "{name}"\ntext = "Hi"\nnext = "exit"\n' for name in "abc")
    plan = plan_of(HEAD + text)
    assert go(plan, standing(), NOW, Facts(way={1: 0})).place == 1
    assert go(plan, standing(), NOW, Facts(way={1: 1})).place == 2
    assert go(plan, standing(), NOW).place == 3


def test_split_is_the_same_for_the_same_number_and_as_often_as_its_weight() -> None:
    """WF-5, AB-1: other weights move only those at the border."""
    text = '[[steps]]\ndo = "split"\nways = [{weight = WA, then = "a"}, {weight = WB, then = "b"}]\n'
    text += "".join(f'[[steps]]\ndo = "send"\nname = "{name}"\ntext = "Hi"\nnext = "exit"\n' for name in "ab")

    def ways(a: int, b: int) -> list[int]:
        at = plan_of(HEAD + text.replace("WA", str(a)).replace("WB", str(b))).steps[0]
        return [workflow.way_of(at, number, "salt") for number in range(447700900000, 447700910000)]

    half, more = ways(50, 50), ways(60, 40)
    assert abs(half.count(0) - 5000) < 200
    assert abs(more.count(0) - 6000) < 200
    assert all(after == 0 for before, after in zip(half, more, strict=True) if before == 0)


def test_who_goes_in_circles_is_stopped() -> None:
    """WF-7."""
    plan = plan_of(HEAD + PLAIN)
    assert go(plan, standing(1, workflow.MOST_VISITS_A_DAY + 1), NOW).reason == Reason.LOOP_GUARD


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[[steps]]\ndo = "exit"\nnext = "nowhere"\n', "steps[0].next"),
        ('[[steps]]\ndo = "wait"\nfor = "soon"\n', "steps[0].for.after"),
        ('[[steps]]\ndo = "send"\nname = "a"\ntext = "x"\nnext = "a"\n', "steps[0]"),
        ('[[steps]]\ndo = "goal_check"\n', "steps[0]"),
        ('[[steps]]\ndo = "enter_workflow"\nworkflow = "w"\n', "steps[0].workflow"),
        ('[[steps]]\ndo = "wait_for"\nevent = "a"\nwithin = "1d"\nwhere = "orders.last > 3d"\n', "steps[0].where"),
        (
            '[[steps]]\ndo = "branch"\notherwise = "exit"\ncases = [{if = "orders >", then = "exit"}]\n',
            "steps[0].cases[0].if",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_out_is_refused_with_its_place(text: str, key: str) -> None:
    _, problems = read(HEAD + text)
    assert key in [problem[0] for problem in problems]


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ('starts_at = "2026-03-02"\nends_at = "2026-03-01"\n', "ends_at"),
        ('ends_at = "soon"\n', "ends_at"),
        ('filter = "orders > "\n', "filter"),
        ('hours = "25:00-26:00"\n', "hours"),
    ],
)
def test_end_before_the_beginning_and_hours_that_are_none_are_refused(more: str, key: str) -> None:
    _, problems = read(more + HEAD + PLAIN)
    assert key in [problem[0] for problem in problems]


def test_sequence_is_a_wait_that_something_forestalls() -> None:
    """TR-8: fires at the end and not earlier."""
    text = HEAD.replace('on = "event"', 'on = "sequence"\nwithin = "1h"\nunless = {event = "bought"}')
    plan = plan_of(text + '[[steps]]\ndo = "send"\ntext = "Hi"\n')
    assert [one.event for one in plan.exceptions] == ["bought"]
    assert go(plan, standing(visits=0), NOW).until_at == NOW + timedelta(hours=1)


def test_listens_to_everything_that_decides_about_somebody() -> None:
    plan = plan_of(HEAD + PLAIN)
    assert workflow.listens(plan, {}, "w") == [("event", "began"), ("event", "clicked"), ("event", "opted_out")]
    assert plan.wakes == {"clicked"}


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ('scope = "tag"\ntag = "b"', "'b'"),
        ('scope = "tag"', "''"),
        ('tag = "a"', "'a'"),
    ],
)
def test_exception_for_a_tag_names_one_of_the_document_EX_4(more: str, found: str) -> None:
    _, problems = read(f'tags = ["a"]\n{HEAD}{PLAIN}[[exceptions]]\nevent = "bought"\n{more}\n')
    assert [(problem[0], problem[2]) for problem in problems] == [("exceptions[0].tag", found)]
    _, problems = read(f'tags = ["a"]\n{HEAD}{PLAIN}[[exceptions]]\nevent = "bought"\nscope = "tag"\ntag = "a"\n')
    assert problems == []
