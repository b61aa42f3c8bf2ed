"""`sluice page`: pages by file, looked at before they are applied."""

from pathlib import Path

import pytest

PAGE = """
kind = "page"
name = "spring"
title = "Spring"
[[blocks]]
kind = "heading"
text = "Your code: {code}"
[[blocks]]
kind = "form"
name = "ask"
button = "Send"
thanks = "Thanks"
fields = [{ kind = "text", name = "why", label = "Why?" }]
"""


@pytest.fixture
def file(tmp_path):
    """Write spring.toml, changed."""

    def write(text=PAGE, name="spring.toml"):
        (tmp_path / name).write_text(text)
        return name

    return write


@pytest.mark.covers("S0.26")
def test_s0_26_a_page_is_applied_by_file_and_listed(sluice, queue, file):
    assert sluice("page", "apply", file()).out == "spring: version 1\n"
    assert sluice("page", "apply", file()).out == "spring: version 1, as it was\n"
    assert sluice("page", "apply", file(PAGE.replace("Spring", "Summer"))).out == "spring: version 2\n"
    shown = sluice("page", "list").out
    assert shown.startswith("spring version 2 of ") and shown.endswith(": Summer; ask 0 times\n")


def test_a_page_is_shown_before_it_is_applied(here, file, tmp_path):
    done = here("page", "preview", file(), "--value", "code=A<1")
    assert done.code == 0 and "Your code: A&lt;1" in done.out and "octets" in done.err
    done = here("page", "preview", file(), "--out", "page.html")
    assert "values that the link must have: code" in done.err
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PAGE.replace('"heading"', '"script"'), "spring.toml: blocks[0].kind: expected Invalid value 'script'"),
        (
            PAGE.replace('title = "Spring"', 'brand = "none"\ntitle = "x"'),
            "spring.toml: brand: expected a [brands.NAME]",
        ),
        ("what is this", "spring.toml: expected a page as TOML or JSON"),
        (PAGE.replace("Why?", "x" * 299) * 1 + '[[blocks]]\nkind = "text"\ntext = "' + "y" * 3999 + '"\n', ""),
    ],
)
def test_a_page_that_is_wrong_is_refused_with_its_place(here, file, text, expected):
    done = here("page", "preview", file(text))
    assert (done.code != 0) == bool(expected) and expected in done.err


def test_a_page_may_be_json(here, file):
    text = '{"kind": "page", "name": "a", "title": "A", "blocks": [{"kind": "heading", "text": "Hello"}]}'
    assert "Hello" in here("page", "preview", file(text, "a.json")).out
    assert here("page", "preview", file("[1]", "a.json")).code != 0


@pytest.mark.covers("S0.25", "S0.26")
def test_the_page_of_the_examples_is_right_and_light(here):
    example = Path(__file__).parents[2] / "examples/page.toml"
    done = here("page", "preview", str(example), "--value", "code=SPRING24")
    assert done.code == 0 and "SPRING24" in done.out and len(done.out) < 8000
