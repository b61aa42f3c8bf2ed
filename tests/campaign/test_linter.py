"""The linter: each rule finds what it is for, where it is, and nothing in a text that is good (TP-11)."""

import pytest

from gateway.campaign.linter import RULES, Facts, ease, lint
from gateway.template import Coupon, Template

GOOD = "Acme: Hi {{ first_name | default: 'there' }}, your code {{ coupon.code }} is good for 48 h. Text STOP to end"
FACTS = Facts(brand="Acme", attributes=("first_name", "city"), was_tested=True)
COUPON = Coupon(length=8, life="2d")


def codes(text=GOOD, facts=FACTS, **more):
    more.setdefault("coupon", COUPON)
    return [finding.code for finding in lint(Template(text=text, **more), facts)]


def found(code, text, facts=FACTS, **more):
    more.setdefault("coupon", COUPON)
    return [f"{f.at.line}:{f.at.column} {f.words}" for f in lint(Template(text=text, **more), facts) if f.code == code]


def test_nothing_is_said_of_a_good_text():
    assert codes() == []


@pytest.mark.covers("S1.21")
def test_S1_21_a_text_begins_with_the_name_of_who_writes():
    assert found("no_brand_prefix", "Hi from Acme") == [
        "1:1 begin with Acme, so that everybody sees at once who writes"
    ]
    for good in ("Acme: hi", "ACME: hi", "{{ brand.name }}: hi", "{SiteName}: hi", "  acme hi"):
        assert not found("no_brand_prefix", good)


@pytest.mark.covers("S4.48")
def test_S4_48_the_name_is_written_alike_everywhere():
    assert found("brand_not_alike", "Acme: hi from ACME") == ["1:15 the name is written 'Acme', here 'ACME'"]


@pytest.mark.covers("S1.22")
def test_S1_22_a_person_is_called_by_name():
    assert "no_name" in codes("Acme: hi") and "no_name" not in codes("Acme: hi {{ first_name }}")


@pytest.mark.covers("S1.23")
@pytest.mark.parametrize(
    ("words", "life", "code"),
    [
        ("for 48 h", "24h", "deadline_not_true"),
        ("48 hours left", "24h", "deadline_not_true"),
        ("noch 3 Tage", "48h", "deadline_not_true"),
        ("2 days left", "48h", ""),
        ("60 min", "1h", ""),
        ("1 Woche", "7d", ""),
        ("48 h", "", "deadline_unknown"),
        ("ends on Sunday", "48h", "deadline_unknown"),
        ("until {{ coupon.expires_at | date }}", "48h", ""),
        ("it is nice", "48h", "no_urgency"),
    ],
)
def test_S1_23_a_deadline_is_that_of_the_code(words, life, code):
    text = f"Acme: Hi {{{{ first_name | default: 'x' }}}}, {{{{ coupon.code }}}} {words}. STOP to end"
    said = [one for one in codes(text, coupon=Coupon(life=life)) if "deadline" in one or "urgency" in one]
    assert said == ([code] if code else [])
    if code == "deadline_not_true":
        assert RULES[code][0] == "error"


@pytest.mark.covers("S1.24")
def test_S1_24_a_code_is_visible_and_not_only_in_the_link():
    (said,) = found("code_only_in_url", "Acme: {{ coupon.url }}")
    assert said.startswith("1:10 who buys on another device")
    assert not found("code_only_in_url", "Acme: {{ coupon.code }} {{ coupon.url }}")
    assert not found("code_only_in_url", "Acme: SPRING5 {{ coupon.url }}", coupon=Coupon(code="SPRING5"))


@pytest.mark.covers("S1.25")
def test_S1_25_the_way_out_is_said():
    assert found("no_opt_out", "Acme: hi") and not found("no_opt_out", "Acme: hi. STOP to 123")
    assert not found("no_opt_out", "Acme: hi", Facts(footer="Abmelden: STOPP an 1"))
    assert not found("no_opt_out", "Acme: your order", class_="transactional")


@pytest.mark.covers("S4.43")
def test_S4_43_the_way_out_is_no_link_alone_and_words_are_plain():
    assert found("opt_out_only_by_link", "Acme: hi. Unsubscribe: https://a.example/u")
    assert not found("opt_out_only_by_link", "Acme: hi. Unsubscribe: https://a.example/u or STOP")
    hard = "Acme: consequently, organizational reconfiguration necessitates immediate authentication procedures."
    assert found("hard_to_read", hard) and ease(hard) < 10 < 80 < ease("Acme: we have new shoes. Come and see them.")
    assert ease("") == 100


@pytest.mark.covers("S4.41")
def test_S4_41_what_nobody_told_us_is_not_printed_without_a_thought():
    text = "Acme: {{ first_name }} {{ city }}{% if city %}x{% endif %}"
    assert len(found("inferred_printed", text, inferred=("city",))) == 1
    assert found("inferred_printed", text, Facts(sources={"city": "inferred"}))[0].startswith(
        "1:27 city was worked out"
    )
    assert found("observed_printed", text, Facts(sources={"city": "observed", "first_name": "declared"}))
    assert not found("inferred_printed", "Acme: {% if city %}x{% endif %}", inferred=("city",))


def test_section_0_a_transactional_text_does_not_advertise():
    assert found("discount_in_transactional", "Your order. 20% off next time", class_="transactional")[0].startswith(
        "1:14"
    )
    assert found("discount_in_transactional", "Ihr Gutschein", class_="transactional")
    assert found("discount_in_transactional", "Your order {{ coupon.code }}", class_="transactional")
    assert not found("discount_in_transactional", "Your order 20 has left, 100% paid", class_="transactional")
    assert not found("discount_in_transactional", "Sale!", class_="bulk")


@pytest.mark.parametrize(
    ("code", "bad", "good"),
    [
        ("shouting", "Acme: BUY THESE now", "Acme: buy THESE now. Text STOP"),
        ("shouting", "Acme: hi!!", "Acme: hi!"),
        ("shouting", "LAST DAYS OF IT", "Acme: VIP SMS OTP"),
        ("double_spaces", "a  b", "a b\n  c"),
        ("no_currency", "only 19.99 today", "only €19.99, 19,99 EUR, 19.99 $, at 10.30.2026, v1.25.3, 12.50%"),
        ("link_without_https", "see http://a.example/x", "see https://a.example/x"),
        ("link_without_https", "see shop.com/x now", "mail me@shop.com or v1.com5"),
        ("public_shortener", "https://bit.ly/x", "https://a.example/bit.ly"),
        ("no_default", "{{ first_name }}", "{{ first_name | default: 'x' }}{% if first_name %}{% endif %}"),
        ("unknown_field", "{{ fist_name }}", "{{ first_name }}{{ event.x }}{{ brand.name }}{{ language }}"),
        ("long", "x" * 161, "x" * 160),
    ],
)
def test_what_is_bad_is_found_and_what_is_good_is_not(code, bad, good):
    assert found(code, bad), bad
    assert not found(code, good), found(code, good)


def test_an_unknown_field_names_the_one_that_may_be_meant_and_its_place():
    assert found("unknown_field", "Acme:\n {{ fist_name }}") == [
        "2:5 nobody has an attribute 'fist_name' (did you mean first_name?)"
    ]
    assert found("unknown_field", "{{ event.totl }}", Facts(events=("total",)))[0].endswith("(did you mean total?)")


def test_words_that_a_route_does_not_take_are_errors():
    facts = Facts(banned={"north": ("casino", "loan")})
    assert found("banned_word", "Acme: Casino night, loans", facts) == ["1:7 'Casino' is not taken by north"]


def test_S1_28_a_version_that_was_never_tried_is_said():
    assert "not_tested" in codes(GOOD, Facts(was_tested=False)) and "not_tested" not in codes(GOOD, Facts())


def test_TP_12_every_language_is_judged_and_the_gravest_comes_first():
    template = Template(text="Acme: hi!! STOP", languages={"de": "{% if %}", "fr": "Acme: hi!! STOP"})
    said = [(one.severity, one.key, one.code) for one in lint(template, FACTS)]
    assert said[0] == ("error", "languages.de", "not_readable")
    assert {key for _, key, code in said if code == "shouting"} == {"text", "languages.fr"}
    assert [severity for severity, _, _ in said] == sorted(
        (one[0] for one in said), key=["error", "warning", "hint"].index
    )


def test_every_code_is_of_the_list_and_is_found_by_a_rule_that_is_named():
    assert all(severity in ("error", "warning", "hint") and rule for severity, rule in RULES.values())
    link = Template(text="Acme: {{ link.a }} STOP", links={"a": "http://x"})
    assert {one.code for one in lint(link, FACTS)} <= {*RULES}
    assert "link_without_https" in {one.code for one in lint(link, FACTS)}
