"""What a campaign is for, as it is written: GL-1, GL-2."""

from datetime import timedelta
from typing import Any

import pytest

from gateway.goal import Goal, length_of, read_goal, read_goals
from gateway.happening import like
from gateway.routing import Problem


def problems_of(value: Any) -> list[Problem]:
    found: list[Problem] = []
    assert read_goal(value, "goal", found, lambda event, where: "a fault" if where == "?" else "") is None
    return found


def test_a_goal_is_one_of_six_kinds_with_a_window_of_three_days_from_the_sending_by_default_GL_2() -> None:
    goal = read_goal({"event": "order_placed"}, "goal", [])
    assert goal == Goal(event="order_placed", within="3d", starts="submitted", exits=True)
    assert goal.window == timedelta(days=3) and goal.kind == "event" and goal.title == "event order_placed"
    assert Goal(reply=True).title == "reply" and Goal(url="https://x/*", name="saw it").title == "saw it"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"event": "a", "reply": True}, ("goal", "one of event, url, joined, left, reply, redeemed", "event, reply")),
        ({}, ("goal", "one of event, url, joined, left, reply, redeemed", "none of them")),
        ({"event": "a", "within": "91d"}, ("goal.within", "a length from 1min to 90d such as 36h or 3d", "91d")),
        ({"event": "a", "within": "soon"}, ("goal.within", "a length from 1min to 90d such as 36h or 3d", "soon")),
        ({"url": "x", "where": "a = 1"}, ("goal.where", "an event that it is a condition on", "none")),
        ({"event": "a", "where": "?"}, ("goal.where", "a condition on the event's properties", "a fault")),
        ({"evnt": "a"}, ("goal.evnt", "did you mean 'event'?", "an unknown key")),
        ({"event": 7}, ("goal.event", "`str`", "`int`")),
        ("order_placed", ("goal", 'a goal such as {event = "order_placed", within = "3d"}', "'order_placed'")),
    ],
)
def test_what_is_wrong_with_a_goal_is_said_with_its_place(value: Any, problem: Problem) -> None:
    assert problem in problems_of(value)


def test_a_campaign_has_at_most_four_goals_of_different_names_GL_1() -> None:
    found: list[Problem] = []
    assert len(read_goals([{"event": name} for name in "abcd"], "goal", found)) == 4 and found == []
    read_goals([{"event": name} for name in "abcde"], "goal", found)
    assert found == [("goal", "at most 4 goals", "5")]
    found.clear()
    read_goals([{"event": "a"}, {"event": "a", "within": "1d"}], "goal", found)
    assert found == [("goal[1].name", "a name that no other goal has", "'event a'")]
    found.clear()
    assert read_goals("order_placed", "goal", found) == () and found == [("goal", "a list of goals", "'order_placed'")]


def test_lengths_are_of_minutes_to_ninety_days() -> None:
    assert length_of("90d") == timedelta(days=90) and length_of("1min") == timedelta(minutes=1)
    assert length_of("2w") == timedelta(weeks=2)
    for wrong in ("0h", "-1d", "13w", "1 d", ""):
        with pytest.raises(ValueError, match="expected a length from 1min to 90d"):
            length_of(wrong)


def test_a_star_of_a_url_is_anything_and_nothing_else_of_it_is_a_pattern() -> None:
    assert like(Goal(url="https://x/100%_off/*").url) == "https://x/100\\%\\_off/%"
