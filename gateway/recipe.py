"""Recipes: documents of campaigns that are ready but for a few words, files of this package.

    # A cart that was left: half an hour after the visit has ended, unless something was ordered.
    #
    # group  journey
    # rows   S4.5
    # needs  cart_updated with cart_id and total, order_placed
    # input  shop = Acme | who speaks, in front of each text
    name = "cart-abandoned"
    brand = "%brand%"
    message = {text = "%shop%: your cart waits for you."}

`# series NAME` makes several recipes one, and `# also FILE` names what stands beside one: an offer (x.offer.toml) or a
landing page (x.page.toml), which have its inputs. `# accepts CODE | WHY` answers what the linter warns of.
`%NAME%` is replaced by what is said of an input, or its default.
Not here: whether the document makes sense (campaign/workflow.py), the command (commands/recipes.py).
"""

import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from gateway.routing import Problem

FOLDER = Path(__file__).parent / "recipes"
OFFER, PAGE = ".offer.toml", ".page.toml"
BRAND = "brand"
_LINE = re.compile(r"# (group|rows|needs|series|also|input|accepts) +(.*)|#( .*)?")
_ACCEPTS = re.compile(r"([a-z_]+) \| (.+)")
_INPUT = re.compile(r"([a-z_]+) = (.+?) \| (.+)")
_PLACE = re.compile(r"%([a-z_]+)%")
# What would end a text of TOML, or stand in it as something else.
_UNFIT = re.compile(r'["\\\x00-\x1f\x7f{}]')


class Input(Struct, frozen=True, kw_only=True):
    """Words that a recipe has for you to say; says: what they are."""

    name: str
    default: str
    says: str


class Recipe(Struct, frozen=True, kw_only=True):
    """A document with inputs.

    rows    of capabilities that it shows
    needs   what has to be there for it, in words
    series  of which it is one; "" = none
    also    files beside it: offers and pages
    accepts codes of the linter's warnings, and why they are none here
    text    of the file, as it stands
    """

    name: str
    says: str
    group: str
    rows: tuple[str, ...]
    needs: str
    series: str
    also: tuple[str, ...]
    inputs: tuple[Input, ...]
    accepts: Mapping[str, str]
    text: str


def read(name: str, text: str) -> Recipe:
    """Read a recipe.

    raises  ValueError: its head is none
    """
    said: dict[str, list[str]] = {}
    sentences: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"recipe {name}: expected a line of its head, found {line!r}")
        if found[1]:
            said.setdefault(found[1], []).append(found[2])
        elif found[3] and not said:
            sentences.append(found[3].strip())
    inputs = []
    for words in said.get("input", ()):
        told = _INPUT.fullmatch(words)
        if told is None:
            raise ValueError(f"recipe {name}: expected `NAME = DEFAULT | what it is`, found {words!r}")
        inputs.append(Input(name=told[1], default=told[2], says=told[3]))
    accepts = {}
    for words in said.get("accepts", ()):
        told = _ACCEPTS.fullmatch(words)
        if told is None:
            raise ValueError(f"recipe {name}: expected `CODE | WHY`, found {words!r}")
        accepts[told[1]] = told[2]
    one = {key: " ".join(of) for key, of in said.items()}
    return Recipe(
        name=name, says=" ".join(sentences), group=one.get("group", ""), rows=tuple(one.get("rows", "").split()),
        needs=one.get("needs", ""), series=one.get("series", ""), also=tuple(one.get("also", "").split()),
        inputs=tuple(inputs), accepts=accepts, text=text,
    )  # fmt: skip


@functools.cache
def gallery() -> Mapping[str, Recipe]:
    """Read all recipes, by name."""
    files = sorted(one for one in FOLDER.glob("*.toml") if not one.name.endswith((OFFER, PAGE)))
    return {one.stem: read(one.stem, one.read_text(encoding="utf-8")) for one in files}


def named(name: str) -> list[Recipe]:
    """Find a recipe, or those of a series, in the order in which they are applied; dashes are as good as underlines."""
    wanted = name.replace("-", "_")
    series = [one for one in gallery().values() if one.series == wanted]
    if series:
        return series
    return [gallery()[wanted]] if wanted in gallery() else []


def problems_of(recipes: Iterable[Recipe], said: Mapping[str, str]) -> list[Problem]:
    """Say what is wrong with words for inputs: key, expected, found."""
    names = {BRAND: None} | {one.name: None for recipe in recipes for one in recipe.inputs}
    problems = [(key, f"an input: {', '.join(names)}", repr(key)) for key in said if key not in names]
    problems += [
        (key, "words without quotation marks, backslashes, braces and line ends", repr(value))
        for key, value in said.items()
        if _UNFIT.search(value) or not value.strip()
    ]
    return problems


def fill(recipe: Recipe, text: str, said: Mapping[str, str]) -> str:
    """Put words in the place of inputs; text: of the recipe, or of a file beside it.

    raises  KeyError: one that is not an input
    """
    values = {one.name: one.default for one in recipe.inputs} | dict(said)
    return _PLACE.sub(lambda match: values[match[1]], text)


def files_of(recipe: Recipe, said: Mapping[str, str]) -> dict[str, str]:
    """Write the files of a recipe, by name, the document first: ready to be applied."""
    head = "".join(f"# {one.name} = {said.get(one.name, one.default)}\n" for one in recipe.inputs)
    lines = recipe.text.splitlines(keepends=True)
    body = "".join(lines[next(at for at, line in enumerate(lines) if not line.startswith("#")) :])
    needs = f"# needs {recipe.needs}\n" if recipe.needs else ""
    found = {f"{recipe.name}.toml": f"# {recipe.says}\n#\n{needs}{head}{fill(recipe, body, said)}"}
    for name in recipe.also:
        found[name] = fill(recipe, (FOLDER / name).read_text(encoding="utf-8"), said)
    return found
