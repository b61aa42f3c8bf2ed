"""What can never be is said before the launch: windows without a common hour, filters shorter than the wait."""

import tomllib

import msgspec
import pytest

from gateway.brand import BrandSettings
from gateway.campaign import impossible, workflow
from gateway.document import Document
from gateway.message import MessageClass

FRANCE = BrandSettings(country="FR", zone="Europe/Paris")


def document(text: str) -> Document:
    return msgspec.convert(tomllib.loads(f'name = "x"\nbrand = "acme"\naim = "none"\n{text}'), Document)


def late(text: str) -> list[str]:
    plan, problems = workflow.plan_of(document(text))
    assert not problems
    return impossible.too_late(plan)


EVENT = '[trigger]\non = "event"\nevent = "looked"\n'
AT_NIGHT = document('hours = "02:00-04:00"\nmessage = {text = "Hi"}\n' + EVENT)


def test_windows_that_leave_no_hour_with_the_law_of_the_brands_country_are_a_problem() -> None:
    [(key, _, found)] = impossible.never_open(AT_NIGHT, FRANCE, MessageClass.TRIGGERED)
    assert key == "hours" and "hours" in found and "the law of FR" in found


@pytest.mark.parametrize("class_", [MessageClass.OTP, MessageClass.TRANSACTIONAL])
def test_windows_are_not_asked_of_texts_that_do_not_advertise(class_: MessageClass) -> None:
    assert impossible.never_open(AT_NIGHT, FRANCE, class_) == []


def test_windows_of_brand_and_campaign_have_an_hour_in_common_or_are_a_problem() -> None:
    brand = BrandSettings(windows={"shop": "18:00-20:00"})
    of = document('hours = "09:00-12:00"\nmessage = {text = "Hi"}\n' + EVENT)
    [(_, _, found)] = impossible.never_open(of, brand, MessageClass.BULK)
    assert "brands.acme.windows.shop" in found
    of_both = document('hours = "09:00-19:00"\nmessage = {text = "Hi"}\n' + EVENT)
    assert impossible.never_open(of_both, brand, MessageClass.BULK) == []
    # By the clock of the house it may open at any hour of somebody else's.
    own = BrandSettings(windows={"shop": "18:00-20:00"}, own_clock=("shop",))
    assert impossible.never_open(of, own, MessageClass.BULK) == []


def test_filter_that_is_shorter_than_the_wait_is_said_with_both() -> None:
    [told] = late('filter = "did(bought, 3d) and orders > 1"\nwait = "10d"\nmessage = {text = "Hi"}\n' + EVENT)
    assert "bought in the last 3 d" in told and "message goes 10 d later" in told


@pytest.mark.parametrize(
    "filter_", ["did(bought, 10d)", "did(bought)", "did(bought, 3d) or orders > 1", "count(bought, 3d) = 0"]
)
def test_filter_that_can_still_hold_is_not_mentioned(filter_: str) -> None:
    assert late(f'filter = "{filter_}"\nwait = "10d"\nmessage = {{text = "Hi"}}\n{EVENT}') == []


def test_the_shortest_way_to_a_text_counts() -> None:
    steps = """kind = "workflow"
filter = "did(bought, 3d)"
steps = [
    {do = "branch", cases = [{if = "orders > 2", then = "soon"}], otherwise = "late"},
    {name = "late", do = "wait", for = "10d"},
    {name = "soon", do = "wait", for = "1h"},
    {do = "send", text = "Hi"},
    {do = "wait", for = "4d"},
    {do = "send", text = "Hi again"},
]
"""
    [told] = late(steps + EVENT)
    assert "steps[5]" in told
