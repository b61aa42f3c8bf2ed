"""Makes HTML of pages: blocks in the style of a brand, and the few pages that are ours. No script, and nothing inlined.

    Page + values of the link + answers ─► plain values ─► page.html (minijinja, autoescaped) ─► octets, style's hash

A page stands in one column that fits a handset, its text on a background that it can be read on (page.theme_problems).
Not here: what a page may hold (gateway/page.py), who asks for it (door.py).
"""

import base64
import functools
import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import minijinja
import msgspec

from gateway.page import MOST_OCTETS, Block, Button, Coupon, Form, Heading, Page, Problem, Theme, filled
from gateway.page import Words as Paragraphs

BEACON = "/b/"
FONTS = {
    "system": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
    "sans": "Arial, Helvetica, sans-serif",
    "serif": "Georgia, 'Times New Roman', serif",
}
RIGHT_TO_LEFT = ("ar", "fa", "he", "ur")
_FOLDER = Path(__file__).parent
_STYLE = """\
*{box-sizing:border-box}
body{margin:0 auto;max-width:40rem;padding:1rem;background:BACKGROUND;color:TEXT;font:1.125rem/1.5 FONT;\
overflow-wrap:break-word}
h1{font-size:1.75rem;line-height:1.2}h2{font-size:1.375rem;line-height:1.25}
img{max-width:100%;height:auto}.logo{max-height:4rem}.speaker{font-weight:700}
.button,button{display:inline-block;min-height:3rem;padding:.75rem 1.5rem;border:0;border-radius:.5rem;\
background:ACCENT;color:ON_COLOR;font:inherit;font-weight:700;text-decoration:none;cursor:pointer}
.button:focus-visible,button:focus-visible,input:focus-visible,textarea:focus-visible{outline:3px solid TEXT;\
outline-offset:2px}
.coupon{border:2px dashed ACCENT;border-radius:.5rem;padding:1rem;text-align:center}
.code{margin:0;font-size:1.75rem;font-weight:700;letter-spacing:.05em}
.field{margin:1rem 0}fieldset{border:1px solid TEXT;border-radius:.5rem}label,legend{font-weight:700}
.box{display:flex;gap:.75rem;align-items:flex-start;min-height:2.75rem;padding:.5rem 0;font-weight:400}
.box input{flex:none;width:1.5rem;height:1.5rem;margin:0}
input[type=text],input[type=email],textarea{display:block;width:100%;padding:.75rem;border:1px solid TEXT;\
border-radius:.25rem;background:BACKGROUND;color:TEXT;font:inherit}
.optional{font-weight:400}.wrong{display:block;font-weight:700;border-inline-start:4px solid ACCENT;\
padding-inline-start:.5rem}
footer{margin-top:2rem;border-top:1px solid TEXT;font-size:1rem}.beacon{position:absolute}
"""


class Made(NamedTuple):
    """A page as octets, and what the header says of its style."""

    octets: bytes
    policy: str


@functools.cache
def words_of(language: str) -> Mapping[str, str]:
    """The words of ours in a language, or in English."""
    found = _all_words()
    return found.get(language.partition("-")[0].lower(), found["en"])


@functools.cache
def _all_words() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads((_FOLDER / "words.toml").read_text(encoding="utf-8"))


@functools.cache
def _environment() -> minijinja.Environment:
    return minijinja.Environment(templates={"page.html": (_FOLDER / "page.html").read_text(encoding="utf-8")})


@functools.lru_cache(maxsize=1024)
def _styled(theme: Theme) -> tuple[str, str]:
    """The style of a theme, and the policy that lets a browser use it, and nothing else."""
    style = _STYLE
    for name, value in (
        ("BACKGROUND", theme.background), ("ON_COLOR", theme.on_accent), ("ACCENT", theme.accent), ("TEXT", theme.text),
        ("FONT", FONTS[theme.font]),
    ):  # fmt: skip
        style = style.replace(name, value)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src 'self' https:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    return style, policy


def page(
    page: Page,
    theme: Theme,
    brand: str = "",
    *,
    values: Mapping[str, str] | None = None,
    action: str = "",
    beacon: str = "",
    form: str = "",
    answers: Mapping[str, Any] | None = None,
    wrong: Mapping[str, str] | None = None,
) -> Made:
    """Make a page of a document.

    values   of the link that leads to it
    action   where its forms are sent
    beacon   the token whose opening its picture tells
    form     which of its forms was sent and not taken, with answers and, by field, what is wrong
    """
    values = values or {}
    language = page.language or theme.language
    words = words_of(language)
    blocks: list[dict[str, Any]] = []
    has_heading = False
    for block in page.blocks:
        told = _told(block, values)
        if isinstance(block, Heading):
            told["is_first"], has_heading = not has_heading, True
        elif isinstance(block, Form):
            told["action"] = action
            is_sent = block.name == form
            told["is_wrong"] = is_sent and bool(wrong)
            for field in told["fields"]:
                found = (answers or {}).get(field["name"], []) if is_sent and field["kind"] != "consent" else []
                field["values"] = found if isinstance(found, list) else [found]
                field["wrong"] = words[wrong[field["name"]]] if is_sent and wrong and field["name"] in wrong else ""
        blocks.append(told)
    return _made(language, filled(page.title, values), theme, brand, blocks, beacon)


def said(
    theme: Theme, brand: str, title: str, text: str, *, button: str = "", action: str = "", language: str = ""
) -> Made:
    """Make a page of ours: a heading, a text, and at most one button that sends something."""
    blocks: list[dict[str, Any]] = [{"kind": "heading", "text": title, "is_first": True}]
    blocks.append({"kind": "text", "paragraphs": _paragraphs(text)})
    if button:
        blocks.append({"kind": "post", "action": action, "button": button})
    return _made(language or theme.language, title, theme, brand, blocks, "")


def _made(
    language: str, title: str, theme: Theme, brand: str, blocks: Sequence[Mapping[str, Any]], beacon: str
) -> Made:
    style, policy = _styled(theme)
    html = _environment().render_template(
        "page.html", language=language, direction="rtl" if language.partition("-")[0] in RIGHT_TO_LEFT else "ltr",
        title=title, style=style, speaker=theme.title or brand, theme={"logo": theme.logo, "imprint": theme.imprint},
        blocks=list(blocks), words=dict(words_of(language)), beacon=f"{BEACON}{beacon}.gif" if beacon else "",
    )  # fmt: skip
    return Made(html.encode(), policy)


def _told(block: Block, values: Mapping[str, str]) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(block)
    if isinstance(block, Heading | Button):
        told["text"] = filled(block.text, values)
    if isinstance(block, Button):
        told["url"] = filled_address(block.url, values)
    elif isinstance(block, Coupon):
        told["code"], told["text"] = filled(block.code, values), filled(block.text, values)
    elif isinstance(block, Paragraphs):
        told["paragraphs"] = _paragraphs(filled(block.text, values))
    elif isinstance(block, Form):
        # Defaults too: what is not said is false, and not missing.
        told["fields"] = [_field(one) for one in block.fields]
    return told


def _field(field: Any) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(field)
    return {"lines": 1, "most": 0, "several": False, "options": []} | told


def filled_address(url: str, values: Mapping[str, str]) -> str:
    """Put values into an address, each as one part of it whatever it holds."""
    return filled(url, {name: quote(value, safe="") for name, value in values.items()})


def _paragraphs(text: str) -> list[list[str]]:
    told = [part.strip("\n").split("\n") for part in text.replace("\r\n", "\n").split("\n\n")]
    return [lines for lines in told if any(line.strip() for line in lines)]


def weight_problems(document: Page, theme: Theme) -> list[Problem]:
    """Say where a page is too heavy for a bad connection (S0.25); pictures are fetched apart."""
    octets = len(page(document, theme, document.brand, action="/p/00000000000", beacon="0" * 11).octets)
    if octets > MOST_OCTETS:
        return [("blocks", f"a page of at most {MOST_OCTETS:,} octets", f"{octets:,}")]
    return []
