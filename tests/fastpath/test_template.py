"""Templates against an interpreter of the same grammar (minijinja), and what is not of it refused with its place."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath import alphabet
from _fastpath.faults import NotEncodable
from _fastpath.template import Template

# What a text is made of, with all that means something to the grammar.
TEXT = st.text(
    st.one_of(st.sampled_from("{}%#|\"'\\ \n\tazZ09_.ü€ß\U0001f600"), st.characters(exclude_categories=["Cs"])),
    max_size=12,
)
NAMES = st.sampled_from(["name", "first_name", "Ort", "x1", "größe"])


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


PIECES = st.one_of(
    TEXT.filter(lambda text: not any(mark in text for mark in ("{{", "{%", "{#")) and not text.endswith("{")),
    st.tuples(NAMES).map(lambda part: f"{{{{ {part[0]} }}}}"),
    st.tuples(NAMES, TEXT).map(lambda part: f"{{{{{part[0]}|default({quoted(part[1])})}}}}"),
    st.tuples(NAMES, TEXT).map(lambda part: f"{{{{ {part[0]} | default( {quoted(part[1])}, true ) }}}}"),
    st.tuples(NAMES, TEXT).map(lambda part: f"{{{{ {part[0]}|default({quoted(part[1])}, false) }}}}"),
    TEXT.map(lambda text: f"{{{{ {quoted(text)} }}}}"),
    st.sampled_from(["{# a note #}", "{#\n#}", "{{ 'it\\'s' }}", '{{ "a\\n\\t\\u0041\\ud83d\\ude00\\/\\q" }}']),
)


@pytest.fixture(scope="module")
def interpreter():
    minijinja = pytest.importorskip("minijinja")
    return minijinja.Environment(keep_trailing_newline=True, auto_escape_callback=lambda name: False)


@given(pieces=st.lists(PIECES, max_size=6), data=st.data())
def test_what_is_of_the_shared_grammar_reads_as_the_interpreter_reads_it(interpreter, pieces, data):
    text = unicodedata.normalize("NFC", "".join(pieces))
    template = Template(text)
    values = {name: data.draw(st.one_of(TEXT, st.none()), label=name) for name in template.fields}
    given_values = [values[name] for name in template.fields]
    present = {name: value for name, value in values.items() if value is not None}
    if any(values[name] is None for name in template.required):
        with pytest.raises(KeyError):
            template.encode(given_values, "ucs2")
        return
    assert template.encode(given_values, "ucs2").decode("utf-16-be") == interpreter.render_str(text, **present)


@given(pieces=st.lists(PIECES, max_size=6), data=st.data(), name=st.sampled_from(["gsm7", "latin1", "ucs2"]))
def test_octets_are_those_of_the_alphabet_for_the_whole_text(pieces, data, name):
    template = Template("".join(pieces))
    values = [data.draw(TEXT, label=field) for field in template.fields]
    text = template.encode(values, "ucs2").decode("utf-16-be")
    # What an alphabet has only as NFC is composed at the border of the product, not between two pieces.
    if unicodedata.normalize("NFC", text) != text:
        return
    try:
        expected = alphabet.encode(text, name)
    except NotEncodable:
        with pytest.raises(NotEncodable):
            template.encode(values, name)
    else:
        assert template.encode(values, name) == expected


def test_fields_stand_in_order_of_their_first_appearance_once_each():
    template = Template('{{ b }}{{ a|default("x") }}{{ b|default("y") }}{{ a.c }}')
    assert template.fields == ("b", "a", "a.c")
    assert template.required == ("b", "a.c")
    assert not template.constant
    assert Template("no {# field #} {{ 'here' }}").constant


def test_field_without_value_and_default_is_named():
    with pytest.raises(KeyError, match="name"):
        Template("Hi {{ greeting|default('x') }} {{ name }}").encode([None, None])


def test_default_stands_for_an_empty_value_only_when_it_says_so():
    assert Template('{{ a|default("x") }}').encode([""]) == b""
    assert Template('{{ a|default("x", false) }}').encode([""]) == b""
    assert Template('{{ a|default("x", true) }}').encode([""]) == b"x"
    assert Template('{{ a|default("x", True) }}').encode([None]) == b"x"
    assert Template('{{ a|default("x", true) }}').encode(["y"]) == b"y"


def test_default_that_is_not_used_does_not_cost_the_alphabet():
    template = Template('{{ a|default("\U0001f600") }}')
    assert template.encode(["a"], "gsm7") == b"a"
    with pytest.raises(NotEncodable):
        template.encode([None], "gsm7")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{% if x %}y{% endif %}", "line 1, column 1"),
        ("a\nb {{ x|upper }}", "line 2, column 3"),
        ("{{ }}", "line 1, column 1"),
        ("Hi {{ name", "line 1, column 4"),
        ("Hi {# name", "line 1, column 4"),
        ("{{ 1 }}", "line 1, column 1"),
        ("{{ a b }}", "line 1, column 1"),
        ("{{ a + b }}", "line 1, column 1"),
        ("{{ a['b'] }}", "line 1, column 1"),
        ("{{ a|default(b) }}", "line 1, column 1"),
        ("{{ a|default('b }}", "line 1, column 1"),
        ("{{- a -}}", "line 1, column 1"),
        ("{{ true }}", "line 1, column 1"),
        ("{{ None }}", "line 1, column 1"),
        ("{{ not }}", "line 1, column 1"),
        ("\n\n {{ '\\ud800' }}", "line 3, column 5"),
        ("{{{ a }}}", "line 1, column 1"),
    ],
)
def test_what_is_not_of_the_grammar_is_refused_with_its_place(text, place):
    with pytest.raises(ValueError, match=f"template: {place}: "):
        Template(text)


@given(text=st.text(st.sampled_from("{}%#|\"'\\ \nadefult(),;trueé\U0001f600"), max_size=40))
def test_any_text_compiles_or_is_refused(text):
    try:
        template = Template(text)
    except ValueError as error:
        assert str(error).startswith("template: ")
        return
    assert template.text == text
    assert template.encode(["x"] * len(template.fields), "ucs2") is not None


def test_text_is_composed():
    assert Template("Zoe\u0308").encode([], "latin1") == b"Zo\xeb"


def test_more_values_than_fields_are_refused():
    with pytest.raises(ValueError, match="expected 1 values, got 2"):
        Template("{{ a }}").encode(["x", "y"])


def test_message_that_no_pdu_could_hold_is_refused():
    with pytest.raises(ValueError, match="longer than 65536"):
        Template("{{ a }}").encode(["x" * 65537])
    assert len(Template("{{ a }}").encode(["x" * 65536])) == 65536


@pytest.mark.parametrize("strange", [None, b"octets", 5])
def test_template_is_text(strange):
    with pytest.raises(TypeError):
        Template(strange)


def test_half_a_surrogate_pair_is_no_text():
    with pytest.raises(ValueError, match=r"surrogate|utf-?8|U\+D800|lacks"):
        Template("a\ud800").encode([], "ucs2")
    with pytest.raises(UnicodeEncodeError):
        Template("{{ a }}").encode(["\udc00"], "ucs2")
