"""Rendering: what becomes of a template and of what is known of people, or the reason why nothing does."""

import json
import time
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.template import Template as Compiled
from gateway.campaign.rendering import FUEL, MOST_APPENDED, Renderer, nearest, render, variants
from gateway.template import Coupon, Shop, Template, plain_of
from gateway.templatetext import TemplateFault

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
# Anything that JSON holds, and what it does not.
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS, lambda some: st.lists(some, max_size=4) | st.dictionaries(st.text(max_size=5), some, max_size=4)
)
FIELDS = ("first_name", "city", "points", "tags", "spent", "born", "language", "location", "zone")
ROWS = st.fixed_dictionaries({}, optional={name: VALUES for name in (*FIELDS, "event", "coupon", "link")})


def one(text, row=None, *, brand="Acme", zone="UTC", now=None, **more):
    """What one person is sent, or in brackets why not."""
    found, reason = Renderer(Template(text=text, **more), brand=brand, zone=zone, now=now).render_one(row or {})
    assert (found is None) == bool(reason)
    return f"[{reason}]" if found is None else found


@pytest.mark.covers("S0.22", "S1.17", "S1.18", "S3.16")
def test_TP_1_fields_are_those_of_the_profile_and_of_the_brand_under_old_names_too():
    row = {"first_name": "Anna", "city": "Köln"}
    assert one("Hi {FirstName}, {SiteName} in {{ profile.city }} {{ city }}", row) == "Hi Anna, Acme in Köln Köln"


@pytest.mark.covers("S1.19", "S1.20")
def test_TP_1_codes_and_links_are_those_of_the_person_or_those_of_everybody():
    text = "{DiscountCode} {DiscountCodeUrl} {{ coupon.code }} {{ link.shop }}"
    more = {"coupon": Coupon(code="ALL5", url="https://a.example/c"), "links": {"shop": "https://a.example/"}}
    assert one(text, **more) == "ALL5 https://a.example/c ALL5 https://a.example/"
    row = {"coupon": {"code": "X1Y2", "url": "https://a.example/X1Y2"}, "link.shop": "https://a.li/abc"}
    assert one(text, row, **more) == "X1Y2 https://a.example/X1Y2 X1Y2 https://a.li/abc"


@pytest.mark.covers("S3.14")
def test_a_text_says_what_its_trigger_was_about():
    row = {
        "event": {"order_id": 17, "items": [{"name": "Shoe", "n": 1}, {"name": "Sock", "n": 2}]},
        "trigger": {"name": "x"},
    }
    text = "{{ event.order_id }}{% for i in event.items %} {{ i.n }} {{ i.name | downcase }}{% endfor %}"
    text += " {{ trigger.name }}"
    assert one(text, row) == "17 1 shoe 2 sock x"
    assert one("{{ event.items[1].name }} {{ event['order_id'] }}", row) == "Sock 17"


@pytest.mark.covers("S0.40", "S4.47")
def test_content_follows_what_is_known_of_a_person():
    text = "{% if interests contains 'golf' %}Irons{% elsif spent > 100 %}Best{% else %}Hello{% endif %}"
    assert one(text, {"interests": ["golf"]}) == "Irons"
    assert one(text, {"spent": {"amount": 150, "currency": "EUR"}}) == "Best"
    assert one(text, {"spent": "100"}) == "Hello" and one(text) == "Hello"


@pytest.mark.covers("S0.22")
@pytest.mark.parametrize("value", [None, "", "  ", "\n\t", "\u200b", float("nan"), {}, []])
def test_TP_2_a_value_that_is_missing_prints_no_hole(value):
    row = {"first_name": value}
    assert one("Hi {{ first_name }},", row) == "[render_missing:first_name]"
    assert one("Hi {{ first_name | default: 'there' }},", row) == "Hi there,"
    assert one("Hi {{ first_name | first_name | upcase | default: 'there' }},", row) == "Hi there,"
    assert one("Hi {{ first_name }},", row, defaults={"first_name": "friend"}) == "Hi friend,"
    assert one("Hi {{ first_name }},", row, missing="blank") == "Hi ,"


def test_TP_2_what_is_missing_is_named_wherever_it_stands():
    assert one("{{ a }}{{ b | upcase }}", {"a": 1}) == "[render_missing:b]"
    assert one("{{ event.total | money }}", {"event": {}}) == "[render_missing:event.total]"
    assert one("{% assign x = a | upcase %}{{ x }}") == "[render_missing:a]"
    assert one("{% for i in l %}{{ i.name }}{% endfor %}", {"l": [{"x": 1}]}) == "[render_missing:i.name]"
    assert one("{{ a ~ 'x' }}") == "[render_missing:a]" and one("{{ a + 1 }}") == "[render_missing:a]"
    assert one("{{ a or b }}") == "[render_missing:a]" and one("{{ a or 'x' }}") == "x"
    assert one("{{ a | default: b }}") == "[abort:empty]"


def test_TP_2_what_is_not_reached_is_not_missing():
    assert one("{% if a %}{{ a }}{% else %}none{% endif %}") == "none"
    assert one("{% if a is defined %}{{ a }}{% else %}none{% endif %}") == "none"


def test_TP_2_nothing_is_below_or_above_what_is_missing():
    for condition in ("age < 18", "age > 18", "age <= 18", "18 >= age", "age == 18", "'x' in age", "age contains 'x'"):
        assert one(f"{{% if {condition} %}}yes{{% else %}}no{{% endif %}}") == "no", condition
    assert one("{% if age != 18 %}yes{% endif %}") == "yes"


def test_TP_2_one_person_is_left_out_for_a_reason():
    text = "{% if stock == 0 %}{{ abort('sold out') }}{% endif %}There is some"
    assert one(text, {"stock": "0"}) == "[abort:sold out]" and one(text, {"stock": 3}) == "There is some"
    assert one("{% abort %}") == "[abort:aborted]" and one("{% abort why %}", {"why": "x\n"}) == "[abort:x]"
    assert one("{% abort why %}") == "[abort:aborted]"


def test_TP_2_a_text_of_nothing_is_not_sent():
    assert one("{% if a %}x{% endif %} ") == "[abort:empty]"


def test_TP_4_values_are_data():
    row = {"first_name": "{{ abort('x') }}{% for %}", "city": "a\r\nb\x1b"}
    assert one("{{ first_name }}|{{ city }}", row) == "{{ abort('x') }}{% for %}|a b"
    assert one("{{ first_name }}", {"first_name": "www.evil.com"}) == "www evil com"
    assert one("{{ nick }}", {"nick": "www.evil.com"}, names=("nick",)) == "www evil com"
    assert one("{{ site }}", {"site": "www.good.com"}) == "www.good.com"
    assert one("{% for n in friends.names %}{{ n }}{% endfor %}", {"friends": {"names": ["a\nb"]}}) == "a b"


def test_TP_4_a_row_reaches_no_object_behind_its_values():
    for text in ("{{ a.__class__ }}", "{{ a['__class__'] }}", "{% for x in l %}{{ x.__class__ }}{% endfor %}"):
        assert one(text, {"a": "x", "l": ["x"]}).startswith("[render_missing:")


@pytest.mark.covers("S4.47")
def test_TP_12_everybody_reads_their_own_language():
    template = Template(
        text="Hello {{ n | number }}",
        language="en",
        languages={"de": "Hallo {{ n | number }}", "fr": "Salut"},
        fallback=("fr",),
    )
    rows = [{"language": "de-AT", "n": 1234.5}, {"language": "en", "n": 1234.5}, {"language": "it"}, {}]
    assert Renderer(template).render(rows).texts == ["Hallo 1.234,5", "Hello 1,234.5", "Salut", "Salut"]
    assert list(variants(template)) == [("en", template.text), ("de", "Hallo {{ n | number }}"), ("fr", "Salut")]


@pytest.mark.covers("S0.17", "S3.15")
def test_the_nearest_shop_is_named_and_another_where_nobody_knows_the_place():
    shops = (
        Shop(name="Mitte", lat=52.52, lon=13.40, address="Am Markt 1"),
        Shop(name="Potsdam", lat=52.40, lon=13.06),
        Shop(name="the web shop", is_default=True, url="https://a.example"),
    )
    text = "{{ store.name }}{% if store.address %}, {{ store.address }}{% endif %}"
    text += "{% if store.km %} ({{ store.km }} km){% endif %}"
    assert one(text, {"location": {"lat": 52.5, "lon": 13.3}}, shops=shops) == "Mitte, Am Markt 1 (7 km)"
    assert one(text, {"location": {"lat": 52.41, "lon": "13.1"}}, shops=shops) == "Potsdam (3 km)"
    for nowhere in (
        {},
        {"location": {"lat": 48.1, "lon": 11.6}},
        {"location": {"lat": 99, "lon": 1}},
        {"location": "Berlin"},
    ):
        assert one(text, nowhere, shops=shops) == "the web shop"
    assert one("{{ store.name }}", {}, shops=shops[:2]) == "[render_missing:store.name]"
    assert one("{{ store.name | default('us') }}", {}, shops=shops[:2]) == "us"
    near = Template(text="x", shops=shops[:2], within_km=5)
    assert nearest(near, {"lat": 52.5, "lon": 13.3}) is None


def test_numbers_and_lists_are_printed_as_people_write_them():
    row = {"a": 3.0, "b": True, "c": ["x", 1], "d": {"amount": 5, "currency": "EUR"}, "e": 10**20, "f": 2.5}
    assert one("{{ a }} {{ b }} {{ c }} {{ d }} {{ e }} {{ f }}", row) == f"3 true x, 1 €5.00 {10**20} 2.5"
    assert one("{{ a }}", {"a": {"x": 1}}) == "[render_missing:a]"


def test_digits_in_a_text_are_a_number_where_one_is_asked_for():
    assert one("{% if p >= 10 %}y{% else %}n{% endif %}{{ p * 2 + 1 }}", {"p": "12"}) == "y25"
    assert one("{{ p + 1 }}", {"p": "x"}) == "[abort:expected a number, found 'x']"
    assert one("{% if p < 'b' %}y{% endif %}", {"p": "a"}) == "y"


def test_a_day_is_told_by_the_clock_of_the_person():
    text = "{{ event.at | date('%d %H:%M') }}"
    event = {"event": {"at": "2026-07-01T23:00:00Z"}}
    assert one(text, {**event, "zone": "Asia/Tokyo"}) == "02 08:00"
    assert one(text, event, zone="Europe/Berlin") == "02 01:00" and one(text, {**event, "zone": "?"}) == "01 23:00"
    assert one("{{ now | date('%Y') }}", now=NOW) == "2026" and one("{{ now }}") == "[render_missing:now]"
    assert one("{{ coupon.expires_at | date }}", coupon=Coupon(life="48h"), now=NOW, language="de") == "03.07.2026"
    assert one("{{ event.at | date }}", {"event": {"at": "soon"}}).startswith("[abort:date: expected a time")


def test_TP_1_a_loop_turns_twenty_times():
    assert one("{% for x in l %}{{ x }}{% endfor %}", {"l": ["a"] * 100}) == "a" * 20
    assert one("{% for x in l %}a{% else %}none{% endfor %}", {"l": "text"}) == "none"
    assert one(f"{{% for x in {json.dumps(list(range(50)))} %}}a{{% endfor %}}") == "a" * 20


def test_TP_1_what_takes_too_long_or_grows_too_long_ends():
    loops = "".join(f"{{% for {v} in l %}}" for v in "abcd") + "{{ a | upcase }}" + "{% endfor %}" * 4
    assert one(loops, {"l": list(range(20))}) == "[abort:too_much]"
    doubling = "{% assign x = 'aaaaaaaaaa' %}" + "{% assign x = x ~ x %}" * MOST_APPENDED + "{{ x }}"
    assert one(doubling) == "[too_long]"
    with pytest.raises(TemplateFault, match="at most 12 times ~"):
        one("{{ " + " ~ ".join("a" * (MOST_APPENDED + 2)) + " }}")
    grown = "{% assign x = 'a' %}{% for i in l %}{% for j in l %}{% assign x = x ~ x %}{% endfor %}{% endfor %}{{ x }}"
    assert one(grown, {"l": list(range(20))}) in ("a", "[too_long]")


def test_TP_1_no_text_takes_longer_than_two_milliseconds_of_this_machine_by_much():
    renderer = Renderer(
        Template(text="{% for a in l %}{% for b in l %}{{ s | truncate: 400 | gsm }}{% endfor %}{% endfor %}")
    )
    row = {"l": list(range(20)), "s": "Ș" * 500}
    renderer.render_one(row)
    best = min(_seconds(renderer, row) for _ in range(5))
    assert best < 0.2, f"{FUEL} steps took {best:.3f} s"


def _seconds(renderer, row):
    began = time.perf_counter()
    renderer.render_one(row)
    return time.perf_counter() - began


def test_a_batch_is_rendered_from_columns():
    columns = {"first_name": ["Anna", None], "event.total": [3, 4]}
    found = render(Template(text="{{ first_name }} {{ event.total }}"), columns)
    assert found.texts == ["Anna 3", None] and found.reasons == ["", "render_missing:first_name"]
    shops = (Shop(name="x", is_default=True),)
    renderer = Renderer(Template(text="{{ a }} {{ now | date }} {{ store.name }}", shops=shops))
    assert renderer.fields == ("a", "location", "zone")


@given(ROWS)
def test_whatever_a_row_holds_there_is_a_text_or_a_reason(row):
    text = (
        "{{ first_name | first_name }}{{ city | truncate: 5 }}"
        "{% if points > 3 %}{{ points | pluralize: 'a' }}{% endif %}"
        "{% for t in tags %}{{ t }}{% endfor %}{{ spent | money('EUR') }}{{ born | date }}{{ event.a.b }}{{ store.km }}"
        "{{ coupon.code }}{{ link.x }}{% if tags contains city %}x{% endif %}{{ tags }}{{ points - 1 }}"
    )
    template = Template(
        text=text, languages={"de": "{{ city }}"}, links={"x": "https://a.example"}, coupon=Coupon(),
        shops=(Shop(name="A", lat=1.0, lon=2.0),), missing="blank",
    )  # fmt: skip
    found, reason = Renderer(template).render_one(row)
    assert (found is None) == bool(reason)
    if found is not None:
        found.encode()


@given(
    st.lists(
        st.sampled_from(["{{ a }}", "{{ b | default: 'x' }}", " {literal} ", "é\n", "{{ '{{' }}", "%}"]), max_size=8
    ).map("".join),
    st.none()
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zl", "Zp", "Zs", "Cn", "Co"]), max_size=9),
)
def test_both_ways_say_the_same_of_a_plain_text(text, value):
    plain = plain_of(text)
    assert plain is not None
    found, reason = Renderer(Template(text=text or "x")).render_one({"a": value, "b": value})
    if reason.startswith("render_missing") or not text.strip():
        return
    compiled = Compiled(plain)
    values = [value if value and value.strip() else None for _ in compiled.fields]
    if found is None:
        assert not compiled.encode(values, "ucs2").decode("utf-16-be").strip()
        return
    written = compiled.encode(values, "ucs2").decode("utf-16-be")
    assert unicodedata.normalize("NFC", written) == found
