"""The part `template` of a document: its fields, its languages, which way it is rendered by, what is refused."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.template import Template as Compiled
from gateway.message import MessageClass
from gateway.template import Coupon, Shop, Template, fields_of, is_name, plain_of, read_template, required_of, root_of


def read(value):
    problems = []
    return read_template(value, "template", problems), problems


def test_a_text_alone_is_a_template():
    template, problems = read("Hi {{ first_name | default: 'there' }}")
    assert problems == [] and template == Template(text="Hi {{ first_name | default: 'there' }}")
    assert template.message_class is MessageClass.BULK and template.is_promotional


def test_fields_are_found_with_their_filters_and_what_stands_in_for_them():
    found = fields_of("{{ a | first_name | default('x') }}{{ b }}{% if c %}{{ event.total | money }}{% endif %}")
    assert [(field.name, field.filters, field.required, field.is_printed) for field in found] == [
        ("a", ("first_name", "default"), False, True),
        ("b", (), True, True),
        ("c", (), False, False),
        ("event.total", ("money",), True, True),
    ]
    assert found[1].at == (1, 39)


def test_TP_2_what_stands_in_the_document_as_a_default_is_not_required():
    template = Template(text="{{ a }}{{ b }}", languages={"de": "{{ c }}"}, defaults={"b": "x"})
    assert list(required_of(template)) == ["a", "c"]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Hi {{ first_name }}", "Hi {{ first_name }}"),
        ("Hi {FirstName}", "Hi {{ first_name }}"),
        ("{{ profile.city | default: 'town' }}", '{{ city|default("town", true) }}'),
        ("{{ coupon.code }}{# no #}", "{{ coupon.code }}"),
        ("{{ 'a' }}", '{{ "a" }}'),
        ("{x} {{ '{{' }}", '{{ "{x} " }}{{ "{{" }}'),
        ("{{ a | default: b }}", None),
        ("{{ a | default: 3 }}", None),
        ("{{ a | upcase }}", None),
        ("{% if a %}b{% endif %}", None),
        ("{{ store.name }}", None),
        ("{{ now }}", None),
        ("{{ event['line items'] }}", None),
        ("{{ 3 }}", None),
    ],
)
def test_a_text_of_fields_alone_is_plain(text, plain):
    assert plain_of(text) == plain
    if plain is not None:
        Compiled(plain)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_what_is_plain_says_the_same_when_it_is_compiled(text):
    plain = plain_of('{{ "' + text.replace("\\", "\\\\").replace('"', '\\"') + '" }}')
    assert plain is not None
    assert Compiled(plain).encode([], "ucs2").decode("utf-16-be") == unicodedata.normalize("NFC", text)


def test_only_one_text_that_may_skip_is_plain():
    assert Template(text="{{ a }}").is_plain
    assert not Template(text="{{ a }}", languages={"de": "{{ a }}"}).is_plain
    assert not Template(text="{{ a }}", missing="blank").is_plain


@pytest.mark.parametrize(
    ("language", "key"),
    [
        ("de", "languages.de"),
        ("DE_at", "languages.de"),
        ("pt-BR", "languages.pt-BR"),
        ("pt", "languages.fr"),
        ("it", "languages.fr"),
        ("en-GB", "text"),
        ("", "languages.fr"),
        (None, "languages.fr"),
    ],
)
def test_TP_12_the_text_is_that_of_the_own_language_or_of_the_first_one_asked_instead(language, key):
    texts = {"de": "d", "fr": "f", "pt-BR": "p"}
    assert Template(text="e", language="en", languages=texts, fallback=("fr",)).variant_of(language) == key
    if key == "languages.fr":
        assert Template(text="e", language="en", languages=texts).variant_of(language) == "text"
        assert Template(text="e", language="en", languages=texts, fallback=("en", "fr")).variant_of(language) == "text"


@pytest.mark.parametrize(
    ("class_", "most", "parts"), [("bulk", 0, 3), ("triggered", 0, 3), ("transactional", 0, 10), ("bulk", 5, 5)]
)
def test_TP_10_what_advertises_has_three_parts_unless_it_says_otherwise(class_, most, parts):
    assert Template(text="a", class_=class_, max_parts=most).parts_allowed == parts


@pytest.mark.parametrize(
    "field", ["first_name", "FirstName", "vorname", "billing.last_name", "name", "full name", "nom"]
)
def test_TP_4_attributes_that_are_called_names_are_names(field):
    assert is_name(field)


@pytest.mark.parametrize("field", ["city", "brand.name", "store.name", "filename_url", "username_link", "economy"])
def test_TP_4_others_are_names_where_the_document_says_so(field):
    assert not is_name(field) and is_name(field, (field,))


def test_the_root_of_a_field_says_whose_it_is():
    assert [root_of(name) for name in ("city", "profile.city", "event.a", "link.shop")] == ["", "", "event", "link"]
    assert [root_of(name) for name in ("coupon", "event", "now")] == ["", "", "now"]


@pytest.mark.parametrize(
    ("value", "key", "said"),
    [
        ({"text": "a {{ b"}, "template.text: line 1, column 3", "what is closed by }}"),
        (
            {"text": "a", "languages": {"de": "{{ x | y }}"}},
            "template.languages.de: line 1, column 8",
            "one of the filters",
        ),
        ({"text": "{{ link.shop }}"}, "template.text: line 1, column 4", "a link of `links`"),
        ({"text": "{{ link.shp }}", "links": {"shop": "https://a.b"}}, "template.text: line 1, column 4", "link.shop"),
        ({"text": "{{ coupon.code }}"}, "template.text: line 1, column 4", "a `coupon` in the document"),
        ({"text": "{{ coupon.kode }}", "coupon": {}}, "template.text: line 1, column 4", "coupon.code"),
        ({"text": "{{ store.name }}"}, "template.text: line 1, column 4", "`shops` in the document"),
        (
            {"text": "{{ store.hours }}", "shops": [{"name": "A", "is_default": True}]},
            "template.text: line 1, column 4",
            "km",
        ),
        ({"text": "{{ brand.voice }}"}, "template.text: line 1, column 4", "brand.name"),
        ({"text": "a", "fallback": ["fr"]}, "template.fallback", "none is written"),
        ({"text": "a", "coupon": {"life": "two days"}}, "template.coupon.life", "48h"),
        ({"text": "a", "shops": [{"name": "A"}]}, "template.shops[0]", "lat and lon"),
        ({"text": "a", "class": "loud"}, "template.class", "a text, or a table"),
        ({"txt": "a"}, "template", "a text, or a table"),
        ({"text": "a", "languages": {"German": "b"}}, "template", "a text, or a table"),
        (3, "template", "a text, or a table"),
    ],
)
def test_what_is_wrong_with_a_document_is_said_with_its_key(value, key, said):
    template, problems = read(value)
    assert template is None
    assert any(problem[0].startswith(key) and said in problem[1] for problem in problems), problems


def test_all_that_is_wrong_is_said_at_once():
    _, problems = read({"text": "{{ a", "languages": {"de": "{% if %}"}, "fallback": ["fr"], "coupon": {"life": "x"}})
    assert len(problems) == 4


def test_the_life_of_a_coupon_is_read_in_seconds():
    assert [Coupon(life=life).life_s for life in ("48h", "2d", "90m", "")] == [172800, 172800, 5400, 0]


def test_one_shop_may_be_that_for_everybody_else():
    shops = [{"name": "A", "is_default": True}, {"name": "B", "is_default": True}]
    assert read({"text": "{{ store.name }}", "shops": shops})[1][0][0] == "template.shops"
    assert read({"text": "{{ store.name }}", "shops": shops[:1]})[0].shops == (Shop(name="A", is_default=True),)
