"""Pages as HTML: in the style of a brand, to be read by everybody, light, without a script (S0.25, S0.27, S4.43)."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from gateway.page import MOST_OCTETS, Page, Theme, page_of
from gateway.redirect import rendering
from gateway.redirect.rendering import page, said, weight_problems, words_of

EVERYTHING: dict[str, Any] = {
    "kind": "page", "name": "all", "title": "All <of it>", "brand": "acme",
    "blocks": [
        {"kind": "text", "text": "Before\nand after.\n\n\n\nMore & more"},
        {"kind": "heading", "text": "First"}, {"kind": "heading", "text": "Second"},
        {"kind": "image", "url": "https://img.acme.example/a.png?x=1&y=2", "alt": "A \"shoe\"", "width": 640,
         "height": 480},
        {"kind": "button", "text": "Buy", "url": "https://shop.acme.example/{code}?a=1&b={code}"},
        {"kind": "coupon", "code": "{code}", "text": "Until Sunday"},
        {"kind": "form", "name": "f", "button": "Send", "thanks": "Thanks", "fields": [
            {"kind": "text", "name": "one", "label": "One line"},
            {"kind": "text", "name": "many", "label": "Many", "lines": 4, "required": True},
            {"kind": "email", "name": "mail", "label": "Mail"},
            {"kind": "choice", "name": "size", "label": "Size", "options": ["S", "M"], "required": True},
            {"kind": "choice", "name": "days", "label": "Days", "options": ["Mo", "Tu"], "several": True},
            {"kind": "birthday", "name": "born", "label": "Born on"},
            {"kind": "consent", "name": "yes", "label": "I agree."}]},
    ],
}  # fmt: skip
VOID = {"meta", "img", "input", "br"}


class Tree(HTMLParser):
    """Tags with attributes in their order, text by the element that holds it, and what is not closed."""

    def __init__(self, octets: bytes):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None], tuple[str, ...]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.path: list[str] = []
        self.faults: list[str] = []
        self.feed(octets.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs), tuple(self.path)))
        if len(dict(attrs)) != len(attrs):
            self.faults.append(f"an attribute twice: {tag}")
        if tag not in VOID:
            self.path.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.path or self.path.pop() != tag:
            self.faults.append(f"not nested: {tag}")

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.path), data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [told for name, told, _ in self.tags if name == tag]


def document(of: dict[str, Any] = EVERYTHING) -> Page:
    found, problems = page_of(of)
    assert found is not None, problems
    return found


def tree(octets: bytes) -> Tree:
    found = Tree(octets)
    assert found.faults == [] and found.path == []
    return found


@pytest.mark.covers("S0.25", "S0.26", "S4.43")
def test_s4_43_a_page_passes_the_checks_of_wcag_that_a_program_can_make() -> None:
    made = page(document(), Theme(), "acme", values={"code": "A1"}, action="/p/x", beacon="0" * 11, form="f",
                answers={"one": "x"}, wrong={"many": "required", "size": "required"})  # fmt: skip
    found = tree(made.octets)
    assert found.all("html") == [{"lang": "en", "dir": "ltr"}]  # 3.1.1
    assert any(text == "All <of it>" for path, text in found.texts if path[-1:] == ("title",))  # 2.4.2
    assert len(found.all("h1")) == 1 and len(found.all("main")) == 1  # 1.3.1
    assert all("alt" in told for told in found.all("img"))  # 1.1.1
    labels = {told.get("for") for told in found.all("label")}
    for tag, told, path in found.tags:
        if tag in ("input", "textarea") and told.get("type") != "hidden":
            assert told.get("id") in labels or "label" in path, told  # 3.3.2
        if told.get("aria-invalid"):
            assert any(one.get("id") == told["aria-describedby"] for _, one, _ in found.tags)  # 3.3.1
    assert sum("aria-invalid" in told for _, told, _ in found.tags) == 2
    ids = [told["id"] for _, told, _ in found.tags if "id" in told]
    assert len(ids) == len(set(ids))  # 4.1.1
    viewport = next(told for told in found.all("meta") if told.get("name") == "viewport")
    assert "user-scalable" not in str(viewport) and "maximum-scale" not in str(viewport)  # 1.4.4
    assert len(found.all("fieldset")) == len(found.all("legend")) == 2  # 1.3.1
    assert "min-height:3rem" in made.octets.decode() and "focus-visible" in made.octets.decode()  # 2.5.8, 2.4.7


@pytest.mark.covers("S0.25")
def test_s0_25_nothing_of_a_page_is_run_and_its_policy_lets_in_its_style_alone() -> None:
    made = page(document(), Theme(), "acme", values={"code": "A1"}, action="/p/x", beacon="0" * 11)
    found = tree(made.octets)
    assert not {"script", "iframe", "object", "link", "base"} & {tag for tag, _, _ in found.tags}
    assert not any(name.startswith("on") or name == "style" for _, told, _ in found.tags for name in told)
    (style,) = [text for path, text in found.texts if path[-1:] == ("style",)]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in made.policy and "script" not in made.policy
    assert "form-action 'self'" in made.policy and "frame-ancestors 'none'" in made.policy


@pytest.mark.covers("S0.27")
def test_s0_27_a_page_has_the_style_of_its_brand() -> None:
    theme = Theme(
        title="Acme & Sons", language="de", background="#fffbe6", text="#222222", accent="#7a1f1f", on_accent="#fefefe",
        font="serif", logo="https://img.acme.example/logo.svg", imprint="Acme GmbH, Berlin",
    )  # fmt: skip
    found = tree(page(document(), theme, "acme", action="/p/x").octets)
    (style,) = [text for path, text in found.texts if path[-1:] == ("style",)]
    for word in ("background:#fffbe6", "color:#222222", "background:#7a1f1f", "color:#fefefe", "Georgia"):
        assert word in style
    assert not re.search(r"[A-Z]{4,}", style)
    assert found.all("html")[0]["lang"] == "de"
    assert found.all("img")[0] == {"class": "logo", "src": theme.logo, "alt": "Acme & Sons"}
    assert any(text == "Acme GmbH, Berlin" for _, text in found.texts)
    assert any("freiwillig" in text for _, text in found.texts)


@pytest.mark.covers("S1.20")
def test_values_are_text_wherever_they_stand_and_one_part_of_an_address() -> None:
    evil = '"><script>alert(1)</script>&{x}/../?'
    found = tree(page(document(), Theme(), "acme", values={"code": evil}, action="/p/x").octets)
    assert not found.all("script")
    assert [text for path, text in found.texts if evil in text]
    (button,) = [told["href"] for told in found.all("a")]
    assert button is not None and button.startswith("https://shop.acme.example/%22%3E%3Cscript%3E")
    assert button.count("?") == 1


@pytest.mark.covers("S1.26")
def test_s1_26_a_picture_stands_on_a_page_since_no_text_can_carry_one() -> None:
    found = tree(page(document(), Theme(), "acme").octets)
    (image,) = found.all("img")
    assert (image["src"], image["alt"]) == ("https://img.acme.example/a.png?x=1&y=2", 'A "shoe"')
    assert (image["width"], image["height"], image["loading"]) == ("640", "480", "lazy")


def test_paragraphs_and_lines_stay_and_the_first_heading_is_the_pages_own() -> None:
    found = tree(page(document(), Theme(), "acme").octets)
    paragraphs = [text for path, text in found.texts if path[-1:] == ("p",) and text.strip()]
    assert ["Before", "and after.", "More & more"] == paragraphs[1:4]
    assert [text for path, text in found.texts if path[-1:] == ("h1",)] == ["First"]
    assert [text for path, text in found.texts if path[-1:] == ("h2",)] == ["Second"]


def test_a_page_that_is_too_heavy_is_refused_and_an_ordinary_one_is_light() -> None:
    assert weight_problems(document(), Theme()) == []
    heavy = EVERYTHING | {"blocks": [{"kind": "heading", "text": "x"}] + [{"kind": "text", "text": "y" * 4000}] * 14}
    ((key, expected, found),) = weight_problems(document(heavy), Theme())
    assert (key, expected) == ("blocks", f"a page of at most {MOST_OCTETS:,} octets") and found.startswith("5")
    assert len(page(document(), Theme(), "acme").octets) < 8000


def test_what_is_said_is_said_in_every_language_alike() -> None:
    every = rendering._all_words()
    assert all(set(words) == set(every["en"]) and all(words.values()) for words in every.values())
    assert words_of("de-AT") is every["de"] and words_of("xx") is every["en"]
    made = said(Theme(language="ar"), "acme", "T", "a <b>", button="B", action="/stop/x")
    found = tree(made.octets)
    assert found.all("html") == [{"lang": "ar", "dir": "rtl"}] and len(found.all("button")) == 1
    assert found.all("form") == [{"method": "post", "action": "/stop/x"}]
