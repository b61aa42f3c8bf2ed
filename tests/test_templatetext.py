"""The language of templates: what it takes, and where it says that something is wrong (TP-1)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.templatetext import (
    FILTERS,
    MOST_OCTETS,
    Abort,
    Assign,
    Const,
    Filter,
    For,
    If,
    Literal,
    Output,
    Path,
    TemplateFault,
    constant,
    expressions,
    fields,
    parse,
    place_of,
    uses,
)


def fault(text: str) -> str:
    with pytest.raises(TemplateFault) as found:
        parse(text)
    return str(found.value)


def names(text: str) -> list[str]:
    return [path.name for path in fields(parse(text))]


def test_a_text_of_a_field_is_a_literal_and_an_output():
    literal, output = parse("Hi {{ first_name }}")
    assert isinstance(literal, Literal) and literal.text == "Hi "
    assert isinstance(output, Output) and isinstance(output.of, Path) and output.of.name == "first_name"
    assert output.at == (1, 4) and output.of.at == (1, 7)


@pytest.mark.parametrize(
    ("jinja", "liquid"),
    [
        ("{{ a|truncate(20, '…') }}", "{{ a | truncate: 20, '…' }}"),
        ("{{ a|upper|default('x') }}", "{{ a | upcase | default: 'x' }}"),
        ("{% if a %}1{% elif b %}2{% endif %}", "{% if a %}1{% elsif b %}2{% endif %}"),
        ("{% set x = a %}{{ x }}", "{% assign x = a %}{{ x }}"),
        ("{% if 'v' in tags %}x{% endif %}", "{% if tags contains 'v' %}x{% endif %}"),
        ("{{ a|default(none) }}", "{{ a | default: nil }}"),
    ],
)
def test_words_of_jinja_and_of_liquid_mean_the_same(jinja, liquid):
    assert without_places(parse(jinja)) == without_places(parse(liquid))


def without_places(found):
    """A tree as text, without its places."""
    return re.sub(r"Place\(line=\d+, column=\d+\)", "", repr(found))


def test_the_old_words_in_single_braces_are_fields_and_others_are_text():
    found = parse("{FirstName} {sitename} {DiscountCode} {DiscountCodeUrl} {Surname} {}")
    assert names("{FirstName} {sitename} {DiscountCode} {DiscountCodeUrl} {Surname} {}") == [
        "first_name", "brand.name", "coupon.code", "coupon.url",
    ]  # fmt: skip
    assert isinstance(found[-1], Literal) and found[-1].text == " {Surname} {}"


def test_profile_in_front_of_an_attribute_says_nothing_more():
    assert names("{{ profile.city }}{{ city }}{{ event.city }}{{ profile }}") == [
        "city",
        "city",
        "event.city",
        "profile",
    ]


def test_a_dash_takes_the_white_space_beside_it_away():
    found = parse("a \n{%- if b -%}\n c \n{%- endif %} d")
    assert isinstance(found[0], Literal) and found[0].text == "a"
    assert isinstance(found[1], If) and found[1].branches[0][1][0].text == "c"
    assert isinstance(found[2], Literal) and found[2].text == " d"


def test_comments_are_nothing():
    assert [type(one) for one in parse("a{# {{ b }} #}c")] == [Literal, Literal]


def test_names_of_loops_and_of_assignments_are_no_fields():
    text = "{% for item in event.items %}{{ item.name }}{{ city }}{% endfor %}{{ item }}{% assign x = a %}{{ x }}"
    assert names(text) == ["event.items", "city", "item", "a"]
    assert isinstance(parse(text)[0], For) and isinstance(parse(text)[2], Assign)


def test_a_name_that_a_branch_gives_holds_behind_it():
    assert names("{% if a %}{% assign g = 'x' %}{% endif %}{{ g }}") == ["a"]


def test_binding_is_as_everybody_expects():
    (piece,) = parse("{% if a or b and not c == 1 + 2 * 3 | default: 4 %}{% endif %}")
    condition = piece.branches[0][0]
    assert condition.mark == "or" and condition.right.mark == "and"
    compared = condition.right.right.of
    assert compared.mark == "==" and compared.right.mark == "+" and compared.right.right.mark == "*"
    assert isinstance(compared.right.right.right, Filter)


@pytest.mark.parametrize(
    "text", ["{{ abort('why') }}", "{% abort 'why' %}", "{% abort('why') %}", "{{ abort_message('why') }}"]
)
def test_a_person_is_left_out_in_any_way_of_saying_so(text):
    (piece,) = parse(text)
    assert isinstance(piece, Abort) and constant(piece.why) == "why"


def test_parts_may_stand_in_brackets():
    (piece,) = parse("{{ event['line items'][0].name }}")
    assert piece.of.names == ("event", "line items", "0", "name")
    assert [path.name for _, path in uses((piece,))] == ["event.line items.0.name"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\nb {{ c", "line 2, column 3: expected what is closed by }}, found the end of the text"),
        ("{% if a %}b", "line 1, column 1: expected a block that is closed by endif, found the end of the text"),
        ("{% for a in b %}{% if c %}{% endfor %}", "line 1, column 27: expected"),
        ("{{ a | shout }}", "line 1, column 8: expected one of the filters default"),
        ("{{ a | trunkate: 3 }}", "(did you mean truncate?), found 'trunkate'"),
        ("{{ a | default }}", "expected 1 to 2 arguments of default, found 0"),
        ("{{ a | upcase: 3 }}", "expected no arguments of upcase, found 1"),
        ("{{ a b }}", "line 1, column 6: expected the end of it, }}, found 'b'"),
        ("{{ }}", "expected a field or a value, found '}}'"),
        ("{{ range(9) }}", "expected a field or a value; abort(…) stands alone, found a call of 'range'"),
        ("{{ a.b() }}", "line 1, column 7: expected the end of it, }}, found '('"),
        ("{% include 'x' %}", "expected if, for, assign or abort, or the end of a block that is open, found 'include'"),
        ("{% macro x() %}{% endmacro %}", "found 'macro'"),
        ("{% assign if = 3 %}", "expected a name that is no word of the language, found 'if'"),
        ("{{ a ** b }}", "expected a field or a value, found '*'"),
        ("{{ 'x }}", "expected a name, a value or }}"),
        ("{{ a is odd }}", "expected defined, found 'odd'"),
        ("{# a", "expected a comment that is closed by #}, found the end of the text"),
        ("{{ '\\ud83d' }}", "half of a surrogate pair"),
        ("{{ a[b] }}", "expected a name in quotes, or a number, found 'b'"),
        ("{% if a %}{% else %}{% else %}{% endif %}", "found 'else'"),
        ("\ud83d", "line 1, column 1: expected a character, found half of a surrogate pair"),
        ("x" * (MOST_OCTETS + 1), "at most 10,000 octets, found 10,001"),
        ("{{ " + "(" * 30 + "a" + ")" * 30 + " }}", "at most 20 levels"),
        ("{% if a %}" * 30 + "{% endif %}" * 30, "at most 20 levels in one another"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text, said):
    assert said in fault(text)


def test_every_filter_takes_as_many_arguments_as_it_says():
    for name, (least, most) in FILTERS.items():
        for count in range(most + 2):
            text = f"{{{{ a | {name}({', '.join(['1'] * count)}) }}}}"
            if least <= count <= most:
                assert isinstance(next(expressions(parse(text))), Filter)
            else:
                assert f"arguments of {name}" in fault(text)


def test_a_place_is_counted_from_one():
    assert place_of("a\nbc", 3) == (2, 2) and str(place_of("a", 0)) == "line 1, column 1"


def test_a_number_may_be_below_zero():
    (piece,) = parse("{{ -3 }}")
    assert piece.of == Const(value=-3, at=piece.of.at)


PIECES = [
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "if ",
    "for ",
    "in ",
    "a",
    ".",
    "|",
    "default",
    "(",
    ")",
    "'x'",
    " ",
    "\n",
]
PIECES += ["endif", "else", "{FirstName}", "-", "3", "not ", "é", "[", "]", ":"]


@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_any_text_is_read_or_refused_with_a_place(text):
    try:
        parse(text)
    except TemplateFault as found:
        assert all(place.line >= 1 and place.column >= 1 for place, _, _ in found.faults)
