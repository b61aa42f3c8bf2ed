"""Landing pages in a real browser with the screen of a small phone, scripts off: S0.25, S4.43, IN-7."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gateway.link import Link
from gateway.store import stops
from tests.fixtures.browser import Tab, a_browser
from tests.fixtures.doors import ADA, SURVEY, Opened, opened

__all__ = ["opened"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "page.toml"
# What a finger hits (WCAG 2.5.8 asks for 24 pixels, 2.5.5 for 44), and the least letters that are read without zooming.
FINGER_PX, LETTER_PX = 44, 16
LOOK = """
(() => {
    const seen = [...document.querySelectorAll("a, button, input:not([type=hidden]), textarea, label.box, p, h1, h2")];
    const boxes = seen.map(one => [one, one.getBoundingClientRect()]).filter(([, box]) => box.width > 1);
    const kinds = ["a.button, button, label.box, textarea, input", "p, h1, h2, a, button, label, textarea, input"];
    const [fields, letters] = kinds
        .map(kind => boxes.filter(([one]) => one.matches(kind) && !one.matches("label.box input")));
    return {
        wide: document.documentElement.scrollWidth,
        screen: document.documentElement.clientWidth,
        outside: boxes.filter(([, box]) => box.left < 0 || box.right > innerWidth).map(([one]) => one.outerHTML),
        small: fields.filter(([, box]) => box.height < FINGER).map(([one, box]) => one.tagName + " " + box.height),
        letters: Math.min(...letters.map(([one]) => parseFloat(getComputedStyle(one).fontSize))),
        unnamed: [...document.querySelectorAll("input:not([type=hidden]), textarea")]
            .filter(one => !one.labels.length).map(one => one.outerHTML),
        scripts: document.scripts.length,
        octets: new Blob([document.documentElement.outerHTML]).size,
    };
})()
""".replace("FINGER", str(FINGER_PX - 0.5))


async def looked_at(tab: Tab) -> dict[str, Any]:
    found = await tab.ask(LOOK)
    assert isinstance(found, dict)
    assert found["wide"] <= found["screen"] == 320, "nobody has to push the page aside"
    assert (found["outside"], found["small"], found["unnamed"]) == ([], [], [])
    assert found["letters"] >= LETTER_PX
    assert found["scripts"] == 0 and found["octets"] < 50_000
    return found


def of_page(name: str, *values: str) -> Link:
    return Link(page=name, values=tuple(values))


@pytest.mark.slow
@pytest.mark.covers("S0.25", "S4.43")
async def test_a_page_of_every_block_fits_a_small_phone_and_fetches_nothing_but_its_picture(opened: Opened) -> None:
    document = tomllib.loads(EXAMPLE.read_text()) | {"brand": "acme"}
    # Words without a place to break are what makes pages wide.
    document["blocks"].insert(2, {"kind": "text", "text": "Donaudampfschifffahrtsgesellschaft" * 4})
    await opened.page(document)
    token = await opened.link(of_page("spring", "code"), ADA, "SPRING-24-" + "X" * 20)
    async with a_browser() as browser:
        tab = await browser.open(f"http://{opened.address}/p/{token}", scripts=False)
        await looked_at(tab)
        assert "SPRING-24" in await tab.ask("document.querySelector('.code').textContent")
        others = [one for one in tab.wanted if not one.startswith(f"http://{opened.address}/")]
        assert set(others) <= {"https://img.acme.example/spring.jpg"}
        # What the page's own policy forbids would be said here.
        assert [one for one in tab.told if "Content Security Policy" in one] == []


@pytest.mark.slow
@pytest.mark.covers("S0.25")
async def test_a_form_is_filled_in_with_fingers_and_what_is_wrong_is_said_beside_it(opened: Opened) -> None:
    await opened.page(SURVEY)
    token = await opened.link(of_page("survey", "name"), ADA, "Ada <b>")
    async with a_browser() as browser:
        tab = await browser.open(f"http://{opened.address}/p/{token}", scripts=False)
        assert await tab.ask("document.querySelector('h1').textContent") == "Help us, Ada <b>"
        await tab.taps("#sizes button")
        # The browser itself asks for what is required, before anything is sent.
        assert await tab.ask("document.querySelector('#sizes :invalid') !== null")
        await tab.taps("#sizes label.box")
        await tab.taps("#sizes-why")
        await tab.types("Too small & tight")
        await tab.taps("#sizes-mail")
        await tab.types("ada@example")
        await sent(tab, "#sizes button")
        await looked_at(tab)
        wrong = await tab.ask("[...document.querySelectorAll('span.wrong')].map(one => one.id)")
        assert wrong == ["sizes-mail-wrong"]
        kept = await tab.ask("[document.querySelector('#sizes-why').value, document.querySelector(':checked').value]")
        assert kept == ["Too small & tight", "S"], "what was right is not asked for again"
        await tab.ask("document.querySelector('#sizes-mail').value = ''")
        await tab.taps("#sizes-mail")
        await tab.types("ada@example.org")
        await sent(tab, "#sizes button")
        assert "Thank you!" in await tab.ask("document.body.textContent")
        await looked_at(tab)
    row = await opened.connection.fetchrow("SELECT number, answers::text FROM page_entry")
    assert row is not None and row["number"] == ADA
    assert json.loads(row["answers"]) == {
        "size": "S",
        "why": "Too small & tight",
        "mail": "ada@example.org",
        "more": False,
    }


async def sent(tab: Tab, selector: str) -> None:
    """Tap what sends, and wait for what comes."""
    tab.forget()
    await tab.taps(selector)
    await tab.loaded()


@pytest.mark.slow
async def test_the_way_out_is_one_tap_and_looking_at_it_is_none(opened: Opened) -> None:
    token = await opened.link(Link(optout=True), ADA)
    async with a_browser() as browser:
        tab = await browser.open(f"http://{opened.address}/stop/{token}", scripts=False)
        await looked_at(tab)
        assert await stops.standing(opened.connection, [ADA]) == []
        await sent(tab, "button")
        await looked_at(tab)
    assert await stops.standing(opened.connection, [ADA]) != []
