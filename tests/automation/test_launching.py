"""What cannot be carried out is refused before anything changes; what may be a slip is said."""

from datetime import timedelta

import pytest

from gateway import document
from gateway.automation import launching
from gateway.automation.launching import Unfit
from gateway.errors import StoreError
from gateway.goal import Goal
from gateway.store import conversions, templates
from tests.fixtures.shop import NOW, Shop

TEXT = """
name = "c"
brand = "acme"
message = {text = "Hi"}
[trigger]
on = "event"
event = "seen"
"""


async def problems(shop: Shop, text: str) -> list[str]:
    with pytest.raises(Unfit) as caught:
        await shop.apply(text)
    return [key for key, _, _ in caught.value.problems]


async def test_names_that_nothing_has_are_refused_with_their_place(shop: Shop) -> None:
    assert await problems(shop, TEXT.replace('"acme"', '"acmee"')) == ["brand"]
    [place] = await problems(shop, TEXT.replace("Hi", "Hi {{ "))
    assert place.startswith("message.text: line 1")
    [place] = await problems(shop, TEXT.replace('"Hi"', '"Hi {{ coupon.code }}"'))
    assert place.startswith("message.text: line 1")
    assert await problems(shop, TEXT.replace('"Hi"', '"Hi", coupon = "none"')) == ["message.coupon"]
    linked = 'links = {shop = {url = "http://a.example/"}}\n' + TEXT
    assert await problems(shop, linked) == ["links.shop.url", "brands.acme.link_domain"]
    assert await problems(shop, "filter = \"in_segment('gone')\"\n" + TEXT) == ["filter"]
    on = TEXT.replace('on = "event"\nevent = "seen"', 'on = "audience"\naudience = "gone"')
    assert await problems(shop, on) == ["trigger.audience"]
    assert await shop.connection.fetchval("SELECT count(*) FROM campaign") == 0


async def test_workflows_that_lead_to_one_another_are_refused(shop: Shop) -> None:
    step = '[[steps]]\ndo = "enter_workflow"\nworkflow = "{}"\n'
    head = 'name = "{}"\nbrand = "acme"\nkind = "workflow"\naim = "a"\n[trigger]\non = "call"\n'
    await shop.apply(head.format("a") + '[[steps]]\ndo = "exit"\n')
    await shop.apply(head.format("b") + step.format("a"))
    assert await problems(shop, head.format("a") + step.format("b")) == ["steps[0].workflow"]
    assert await problems(shop, head.format("c") + step.format("none")) == ["steps[0].workflow"]


async def test_slips_are_said_and_refuse_nothing(shop: Shop) -> None:
    """S3.17: a goal, or why there is none."""
    found, _ = document.read(('filter = "loyalty_pionts > 3"\n' + TEXT).encode())
    assert found is not None
    _, _, slips = await launching.apply(shop.connection, shop.settings, found, "me", shop.now)
    assert [one.split(":")[0] for one in slips] == ["filter", "goals"]
    late = 'aim = "a"\nfilter = "did(seen, 3d)"\nwait = "10d"\n' + TEXT.replace("Hi", "Hi {{ frist_name }}")
    found, _ = document.read(late.encode())
    assert found is not None
    _, _, slips = await launching.check(shop.connection, shop.settings, found)
    [shorter, *fields] = [one for one in slips if "message" in one]
    assert shorter.startswith("filter: seen in the last 3 d")
    assert len(fields) == 2 and all(one.startswith("message.text: line 1") and "frist_name" in one for one in fields)


async def test_windows_that_can_never_open_are_refused(shop: Shop) -> None:
    """QH-1: those of the campaign and of the law where the brand is at home."""
    assert await problems(shop, 'hours = "02:00-04:00"\n' + TEXT) == ["hours"]


async def refused(shop: Shop, text: str) -> str:
    with pytest.raises(Unfit) as caught:
        await shop.apply(text)
    return str(caught.value)


async def test_what_nothing_names_and_names_of_nothing_are_refused_XC_2(shop: Shop) -> None:
    offered = TEXT.replace('text = "Hi"', 'text = "Hi", content = {key = "k", within = "3d", otherwise = "b"}')
    assert await problems(shop, offered) == ["message.content.otherwise"]
    spelled = offered.replace("}}", '}, variants = {c = "x"}}').replace("3d", "3 d")
    assert await problems(shop, spelled) == [
        "message.content.within",
        "message.content.otherwise",
        "message.variants.c",
    ]
    assert await problems(shop, TEXT.replace('"Hi"', '"Hi", variants = {c = "{{ "}'))
    await shop.apply(offered.replace("}}", '}, variants = {b = "x"}}'))


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ('clicks = "many"', ["message.clicks"]),
        ('clicks = "0/m"', ["message.clicks"]),
        ('clicks = "200/m", click_share = "8"', ["message.click_share"]),
        ('click_share = "8%"', ["message.clicks"]),
    ],
)
async def test_clicks_that_a_site_bears_are_a_rate_and_their_share_a_share_TH_4(
    shop: Shop, said: str, where: list[str]
) -> None:
    assert await problems(shop, TEXT.replace('text = "Hi"', f'text = "Hi", {said}')) == where


async def test_code_waits_for_no_site_TH_4(shop: Shop) -> None:
    assert await problems(shop, 'class = "otp"\n' + TEXT.replace('"Hi"', '"Hi", clicks = "9/m"')) == ["message.clicks"]


STAFF = """
name = "tells"
kind = "workflow"
brand = "acme"
aim = "a"
[trigger]
on = "event"
event = "order_placed"
[[steps]]
do = "send"
to = "staff"
text = "Order {{ order_id }} of {{ first_name }}"
"""


async def test_people_of_ours_are_those_whom_the_brand_lists_and_whose_numbers_are_known_S1_6(shop: Shop) -> None:
    assert "expected people of ours in brands.acme.staff, found none" in await refused(shop, STAFF)
    shop.has_staff({"kitchen": ("+447700900111",), "boss": ("+447700900112", "+447700900111")})
    for staff, expected in (
        ('["waiters"]', "steps[0].staff: expected a list of brands.acme.staff (kitchen, boss), or a number in one"),
        ('["kitchen"]', "brands.acme.staff: expected numbers of ours (`sluice template numbers add`)"),
    ):
        assert expected in await refused(shop, STAFF + f"staff = {staff}\n")
    for number in (447700900111, 447700900112):
        await templates.add_test_number(shop.connection, number, "test", NOW)
    for line in ('class = "bulk"', 'goes_on = "delivered"', 'coupon = "x"', 'languages = {de = "x"}'):
        assert f"steps[0].{line.split()[0]}: expected" in await refused(shop, STAFF + line + "\n")
    assert "steps[0].staff: expected nobody" in await refused(
        shop, STAFF.replace('"staff"', '"person"') + "staff=['a']"
    )
    await shop.apply(STAFF)


async def test_campaign_whose_end_is_over_is_not_launched(shop: Shop) -> None:
    with pytest.raises(Unfit, match="ends_at"):
        await shop.apply('ends_at = "2026-03-01"\n' + TEXT)
    assert await shop.connection.fetchval("SELECT state FROM campaign") == "draft"
    with pytest.raises(StoreError, match="is not known"):
        await launching.launch(shop.connection, shop.settings, "none", shop.now)


async def test_ended_campaign_is_told_of_nothing(shop: Shop) -> None:
    await shop.apply(TEXT)
    rows = await shop.connection.fetch("SELECT name FROM listened ORDER BY name")
    assert [row["name"] for row in rows] == ["opted_out", "seen"]
    await launching.set_state(shop.connection, "c", "ended", shop.now)
    assert await shop.connection.fetchval("SELECT count(*) FROM listened") == 0


async def test_full_language_of_texts_is_taken(shop: Shop) -> None:
    """TP-1."""
    await shop.people([447700900001], {"vip": True})
    await shop.apply(TEXT.replace('"Hi"', '"{% if vip %}Dear{% else %}Hi{% endif %} {{ event.n|default(1) }}"'))
    await shop.tells(447700900001, "seen", {"n": 7})
    await shop.goes_on()
    assert await shop.texts() == [(447700900001, "Dear 7")]


async def goals_of(shop: Shop) -> list[tuple[int, str, bool]]:
    return [
        (one.place, one.goal.title, one.until is None) for one in await conversions.goals(shop.connection)
    ]  # fmt: skip


async def test_goals_of_a_document_hold_for_messages_from_its_launch_on_GL_1_GL_6(shop: Shop) -> None:
    """What is edited later is not retroactive; a document that says nothing of goals leaves those set by hand."""
    first = '[[goals]]\nevent = "order_placed"\nwhere = "total > 5"\nwithin = "7d"\n[[goals]]\nreply = true\n'
    await shop.apply(TEXT + first, launches=False)
    assert await goals_of(shop) == []
    await launching.launch(shop.connection, shop.settings, "c", shop.now)
    assert await goals_of(shop) == [(1, "event order_placed", True), (2, "reply", True)]
    [bought, _] = await conversions.goals(shop.connection)
    assert bought.goal.within == "7d" and bought.where is not None and bought.since == shop.now
    await launching.launch(shop.connection, shop.settings, "c", shop.now + timedelta(hours=1))
    assert await goals_of(shop) == [(1, "event order_placed", True), (2, "reply", True)]
    shop.now += timedelta(days=1)
    await shop.apply(TEXT + first.partition("[[goals]]\nreply")[0].replace("7d", "3d"))
    assert await goals_of(shop) == [
        (1, "event order_placed", False), (1, "event order_placed", True), (2, "reply", False),
    ]  # fmt: skip
    assert [one.since for one in await conversions.goals(shop.connection) if one.until is None] == [shop.now]
    await shop.apply(TEXT)
    assert not any(holds for _, _, holds in await goals_of(shop))
    await conversions.declare(shop.connection, "c", [(Goal(reply=True), None)], shop.now)
    await shop.apply(TEXT.replace("Hi", "Ho"))
    assert [title for _, title, holds in await goals_of(shop) if holds] == ["reply"]


async def test_goal_of_an_audience_that_is_not_kept_is_refused_GL_1(shop: Shop) -> None:
    assert await problems(shop, TEXT + '[[goals]]\njoined = "vip"\n') == ["goals[0].joined"]
    assert await problems(shop, TEXT + '[[goals]]\nevent = "a"\nwhere = "b >"\n') == ["goals[0].where"] * 2
