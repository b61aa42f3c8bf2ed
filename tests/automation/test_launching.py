"""What cannot be carried out is refused before anything changes; what may be a slip is said."""

from collections.abc import AsyncIterator

import pytest

from gateway import document
from gateway.automation import launching
from gateway.automation.launching import Unfit
from gateway.errors import StoreError
from tests.fixtures.shop import Shop

TEXT = """
name = "c"
brand = "acme"
message = {text = "Hi"}
[trigger]
on = "event"
event = "seen"
"""


@pytest.fixture
async def shop(dsn: str) -> AsyncIterator[Shop]:
    made = await Shop.open(dsn)
    yield made
    made.close()


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
