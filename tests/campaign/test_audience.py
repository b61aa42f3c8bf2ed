"""The text of an audience, and what is refused about it."""

import pytest
from hypothesis import given, settings

from gateway import predicate
from gateway.campaign import audience
from gateway.campaign.audience import Known, check, expand, parse, write
from gateway.errors import AudienceFault
from gateway.predicate import (
    And,
    Attribute,
    Compare,
    Count,
    Duration,
    Everyone,
    Field,
    Message,
    Not,
    Or,
    Selected,
    Window,
)
from tests.fixtures.audiences import trees

KNOWN = Known(
    attributes={
        "city": "string",
        "points": "number",
        "tags": "array",
        "home": "object",
        "wallet": "money",
        "vip": "bool",
        "born": "time",
    },
    properties={"order_placed": {"total": "number", "item": "object"}, "visit": {}},
    lists=frozenset({"vip"}),
    segments={"loyal": Everyone()},
)


@settings(max_examples=400, deadline=None)
@given(trees())
def test_a_tree_reads_from_its_text_as_it_was(tree):
    assert parse(write(tree)) == tree
    assert predicate.decode(predicate.encode(tree)) == tree
    check(tree)


def test_the_example_of_the_documentation_reads():
    text = (
        "orders.last > 30d and not clicked(last_campaign) and country = 'DE' and "
        "count(order_placed, 90d, total > 100) >= 2 and in_list('vip') and in_segment('x') and bucket < 500 and "
        "rfm.r >= 4 and consent(promotional)"
    )
    tree = parse(text)
    assert isinstance(tree, And) and len(tree.of) == 9
    assert tree.of[0] == Compare(Field("orders.last"), ">", Duration(30, "d"))
    assert tree.of[1] == Not(Message("clicked", is_last=True))
    assert tree.of[3] == Compare(
        Count("order_placed", Window(Duration(90, "d")), Compare(Attribute(("total",)), ">", 100)), ">=", 2
    )
    assert write(tree) == text


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ('city = "Berlin"', "city = 'Berlin'"),
        ("did(visit, 7 days)", "count(visit, 7d) >= 1"),
        ("rfm('at-risk') and rfm(lost)", "rfm.group = 'at-risk' and rfm.group = 'lost'"),
        ("((a = 1))", "a = 1"),
        ("a <> 1", "a != 1"),
        ("received(any, 2 weeks)", "received(any, 2w)"),
        ("clicked(any)", "clicked()"),
        ("a = 1 or b = 2 and not (c = 3 or d = 4)", "a = 1 or b = 2 and not (c = 3 or d = 4)"),
        (
            "last('order placed', ever, total > 1).item.name = ci 'x'",
            "last('order placed', total > 1).item.name = ci 'x'",
        ),
        ('"country" exists', '"country" exists'),
        ("points\n  > 5", "points > 5"),
    ],
)
def test_there_is_one_way_to_write_a_tree_and_several_to_say_it(text, short):
    assert write(parse(text)) == short


def test_and_binds_more_than_or_and_not_more_than_both():
    assert parse("a = 1 or b = 1 and not c = 1") == Or(
        (
            Compare(Attribute(("a",)), "=", 1),
            And((Compare(Attribute(("b",)), "=", 1), Not(Compare(Attribute(("c",)), "=", 1)))),
        )
    )


def test_the_last_event_has_properties_and_a_time():
    assert parse("last(visit) > 3d") == Compare(Selected("last", "visit"), ">", Duration(3, "d"))
    assert parse("first(visit).page = 'x'") == Compare(Selected("first", "visit", path=("page",)), "=", "x")


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("", (1, 1), "expected a condition, found the end"),
        ("city = 'x' and", (1, 15), "expected a condition, found the end"),
        ("city = 'x'\n and cty = 'y'", (2, 6), "did you mean 'city'"),
        ("contry = 'DE'", (1, 1), "did you mean 'country'"),
        ("orders.lst > 3d", (1, 1), "did you mean 'orders.last'"),
        ("orders.last > 30m", (1, 17), "m may be minutes or months"),
        ("orders.last > 30", (1, 15), "expected a time or a duration for something that is a time, found a number"),
        ("orders > 30d", (1, 10), "expected a number for something that is a number, found a duration"),
        ("country > 30d", (1, 11), "expected a string"),
        ("city = Berlin", (1, 8), "a string stands in 'quotes'"),
        ("city == 'x'", (1, 7), "expected a value, found '='"),
        ("city like 'x'", (1, 6), "expected one of"),
        ("(city = 'x'", (1, 12), "expected ')'"),
        ("city = 'x", (1, 8), "written twice inside"),
        ("city = 'x' city = 'y'", (1, 12), "expected and, or, or the end"),
        (
            "points = 'many'",
            (1, 10),
            "expected a number or a string or null for something that is a number, found a string",
        ),
        ("points = nan", (1, 10), "expected a value"),
        ("points = 1e99", (1, 10), "below 10^18"),
        ("vip > 3", (1, 7), "expected a bool or null"),
        ("tags = 'a'", (1, 8), "something that is an array"),
        ("any(points) = 3", (1, 15), "expected an array, found a number"),
        ("home = 'x'", (1, 8), "something that is an object"),
        ("city.name = 'x'", (1, 1), "an attribute that is an object"),
        ("count(ordr_placed) > 1", (1, 7), "did you mean 'order_placed'"),
        ("count(order_placed, 30d, totl > 1) > 1", (1, 26), "did you mean 'total'"),
        ("count(order_placed, total > 1d) > 1", (1, 29), "expected a value that stays the same"),
        ("count(order_placed, in_list('vip')) > 1", (1, 21), "properties of 'order_placed'"),
        ("count(order_placed, 0d) > 1", (1, 21), "longer than nothing"),
        ("count(visit, between 2026-02-01 and 2026-01-01) > 1", (1, 14), "expected an end after"),
        ("count(visit, between 2026-02-30 and 2026-03-01) > 1", (1, 22), "expected a date"),
        ("count(visit) exists", (1, 1), "something that may be missing"),
        ("cuont(visit) > 1", (1, 1), "did you mean 'count'"),
        ("in_list('vp')", (1, 9), "did you mean 'vip'"),
        ("in_segment('loyl')", (1, 12), "did you mean 'loyal'"),
        ("consent(all)", (1, 9), "promotional, transactional or night"),
        ("rfm.x > 1", (1, 1), "something that is known of persons"),
        ("rfm.group = 'champion'", (1, 13), "did you mean 'champions'"),
        ("rfm('champion')", (1, 5), "did you mean 'champions'"),
        ("near(95, 0, 5km)", (1, 6), "degrees from -90 to 90"),
        ("near(5, 0, 5)", (1, 13), "expected km"),
        ("spent > 5", (1, 9), "expected money"),
        ("spent > 5.5e3 EUR", (1, 9), "expected an amount"),
        ("city = ci 5", (1, 8), "ci: expected a string"),
        ("city > ci 'a'", (1, 8), "ci: expected a string"),
        ("city matches '*a*b*c*d*e*f*g*h*i*'", (1, 14), "at most 8 *"),
        ("orders.last > 30min calendar", (1, 17), "calendar: expected days or weeks"),
        ("orders.last > 101y", (1, 15), "at most 100 years"),
        ("city = 'a\0b'", (1, 8), "NUL"),
        ("city = 'x' & points > 1", (1, 12), "found '&'"),
        ("a" * 201 + " = 1", (1, 1), "at most 200 characters"),
        ("not " * 50 + "vip = true", (1, 161), "at most 40 levels"),
        ("(" * 50 + "vip = true", (1, 41), "at most 40 levels"),
        (" or ".join(["vip = true"] * 600), (1, 7001), "at most 500 conditions"),
        (" or ".join(["did(visit)"] * 20), (1, 178), "at most 12 conditions on events"),
        ("city in (" + ",".join(["'a'"] * 10_001) + ")", (1, 40_013), "use a list"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(text, where, said):
    with pytest.raises(AudienceFault) as caught:
        parse(text, KNOWN)
    assert said in str(caught.value)
    assert (caught.value.line, caught.value.column) == where


@pytest.mark.parametrize(
    "text",
    [
        "points = '7'",
        "city = 7",
        "city > 2026-01-01",
        "born within 3d",
        "home.zip = 'x'",
        "wallet > 5 EUR",
        "any(tags) = 'a'",
        "tags contains 'a'",
        "tags exists",
        "wallet.currency = 'EUR'",
        "count(order_placed, item.name = 'x') > 1",
        "count(submitted, campaign = 'x') >= 1",
        "vip != null",
        "utm.last.term = 'x'",
        "in_segment('loyal')",
        "number starts_with '+44'",
    ],
)
def test_what_is_known_is_taken(text):
    parse(text, KNOWN)


@pytest.mark.parametrize(
    "tree",
    [
        Compare(Field("nothing"), "=", "x"),
        Compare(Attribute(("city",)), "exists", "x"),
        Compare(Attribute(("city",)), "in"),
        Compare(Attribute(("city",)), "within", 5),
        Compare(Attribute(("city",)), "=", float("nan")),
        Compare(Attribute(("city",)), "=", "\ud800"),
        Compare(Count("visit"), "=", "x"),
        Compare(Attribute(("a",)), "=", predicate.Moment("2026-02-31")),
        Message("clicked", "x", is_last=True),
    ],
)
def test_a_tree_that_no_text_says_is_refused(tree):
    with pytest.raises(AudienceFault):
        check(tree)


def test_a_tree_that_is_deeper_than_its_text_may_be_is_refused_before_it_is_followed():
    tree = Everyone()
    for _ in range(5000):
        tree = Not(tree)
    with pytest.raises(AudienceFault, match="levels"):
        check(tree)


def test_other_audiences_are_put_in_the_place_of_their_names():
    segments = {"a": parse("in_segment('b') or orders = 0"), "b": parse("points > 5")}
    assert write(expand(parse("not in_segment('a')"), segments)) == "not (points > 5 or orders = 0)"


def test_an_audience_that_is_asked_of_itself_is_refused_with_the_way_round():
    segments = {"a": parse("in_segment('b')"), "b": parse("not in_segment('a')")}
    with pytest.raises(AudienceFault, match="a → b → a"):
        expand(parse("in_segment('a')"), segments)
    with pytest.raises(AudienceFault, match="did you mean 'b'"):
        expand(parse("in_segment('bb')"), segments)


def test_what_audiences_grow_to_within_each_other_is_limited():
    """SG-12: refused with an explanation, never asked by half."""
    segments = {f"s{at}": parse(f"in_segment('s{at + 1}') or in_segment('s{at + 1}')") for at in range(12)} | {
        "s12": parse("points > 1")
    }
    with pytest.raises(AudienceFault, match="at most 500 conditions"):
        expand(parse("in_segment('s0')"), segments)


def test_names_that_are_known_of_persons_have_a_type_that_is_known():
    assert set(predicate.FIELDS.values()) <= set(audience.OWN_TAKES)
