"""A template and what is known of people become texts, or a reason each: `render` (TP-1 to TP-4, TP-12).

    Template ─► parse ─► minijinja source of our own making, one a language ─┐
    row ─► field values, cleaned ────────────────────────────────────────────┴─► (text, "") or (None, reason)

Nothing of what a person wrote reaches minijinja but through this compiler: a field is a variable f0, f1 …, filters and
comparisons are ours, so that the template can name no attribute of an object and no function. A loop turns 20 times at
most, `fuel` ends what would take longer than 2 ms, and a text has 10,000 octets at most.

A row is what is known of one person: a mapping of attributes, beside which `event`, `trigger`, `coupon` and `link` may
stand with their own; a key may also be a whole name such as `event.total`.
Not here: plain texts, which the claim itself composes (_fastpath.template, template.plain_of).
"""

import json
import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn

import minijinja
from msgspec import Struct

from gateway import templatetext
from gateway.campaign.evaluation import distance_km
from gateway.campaign.filters import Filters, clean, number_of
from gateway.template import Shop, Template, is_name, root_of
from gateway.templatetext import (
    MOST_OCTETS,
    MOST_TURNS,
    Abort,
    Assign,
    Binary,
    Const,
    Defined,
    Expression,
    Filter,
    For,
    If,
    Items,
    Literal,
    Not,
    Output,
    Path,
    Piece,
    paths,
)

MISSING, ABORTED, TOO_LONG = "render_missing", "abort", "too_long"
# Instructions; ten thousand with a call of a filter each take 2 ms (TP-1).
FUEL = 10_000
# What is appended to itself doubles each time: of forty characters so often comes half a million.
MOST_APPENDED = 12
_MOST_DEEP, _MOST_KEYS = 5, 100
_WHY_CHARACTERS = 60


class Rendered(Struct, frozen=True, kw_only=True):
    """What became of some rows: a text, or None and the reason, as semantics' closed list has it."""

    texts: list[str | None]
    reasons: list[str]


class _Stop(Exception):
    """A person gets nothing."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Renderer:
    """A template that was made ready: once for many rows.

    brand  what `brand.name` says
    zone   of the clock that `date` tells by, where the person's own is not known
    now    for `now` and what a coupon's life counts from
    raises ValueError: a TemplateFault, or more is appended than could be held in memory
    """

    def __init__(self, template: Template, *, brand: str = "", zone: str = "UTC", now: datetime | None = None):
        self.template = template
        self._constants = _constants(template, brand, now)
        self._is_many = bool(template.languages)
        self._variants = {
            key: _Variant(self, text, key.partition(".")[2] or template.language, zone)
            for key, text in template.texts().items()
        }

    @property
    def fields(self) -> tuple[str, ...]:
        """What has to be known of a person: names of fields, and what language, place and clock are chosen by."""
        names = [name for variant in self._variants.values() for name in variant.names]
        more = ["language"] if self._is_many else []
        more += ["location"] if any(root_of(name) == "store" for name in names) else []
        more += ["zone"] if any(variant.uses_clock for variant in self._variants.values()) else []
        return tuple(dict.fromkeys([*(name for name in names if root_of(name) not in ("store", "now")), *more]))

    def render(self, rows: Sequence[Mapping[str, Any]]) -> Rendered:
        """Render one text a row.

        cost  6 to 15 us a row; nothing that a row holds makes it raise
        """
        texts: list[str | None] = []
        reasons: list[str] = []
        for row in rows:
            text, reason = self.render_one(row)
            texts.append(text)
            reasons.append(reason)
        return Rendered(texts=texts, reasons=reasons)

    def render_one(self, row: Mapping[str, Any]) -> tuple[str | None, str]:
        """Render the text of one person; -> it and "", or None and the reason."""
        key = "text"
        if self._is_many:
            language = row.get("language")
            key = self.template.variant_of(language if isinstance(language, str) else "")
        try:
            text = self._variants[key].render(row)
        except _Stop as stop:
            return None, stop.reason
        if not text.isascii():
            text = unicodedata.normalize("NFC", text)
        if len(text) > MOST_OCTETS or len(text.encode()) > MOST_OCTETS:
            return None, TOO_LONG
        if not text.strip():
            return None, f"{ABORTED}:empty"
        return text, ""

    def value_of(self, name: str, row: Mapping[str, Any]) -> Any:
        """Find what is known of a person under the name of a field; None = nothing."""
        found = row.get(name)
        if found is None and "." in name:
            first, *parts = name.split(".")
            found = row.get(first)
            for part in parts:
                found = _part(found, part)
        if found is None and name.startswith("store."):
            shop = nearest(self.template, row.get("location"))
            found = None if shop is None else _of_shop(shop, name.partition(".")[2])
        return self._constants.get(name) if found is None else found


def render(template: Template, columns: Mapping[str, Sequence[Any]], **context: Any) -> Rendered:
    """Render a template over columns, by name as Renderer.fields has them, all of one length."""
    renderer = Renderer(template, **context)
    names = list(columns)
    return renderer.render([dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)])


def nearest(template: Template, location: Any) -> tuple[Shop, float | None] | None:
    """Find the shop next to a place, an object of lat and lon; else the one for everybody else, if there is one."""
    found: tuple[Shop, float | None] | None = None
    lat, lon = number_of(_part(location, "lat")), number_of(_part(location, "lon"))
    if lat is not None and lon is not None and abs(lat) <= 90 and abs(lon) <= 180:
        for shop in template.shops:
            if shop.lat is None or shop.lon is None:
                continue
            km = distance_km(lat, lon, shop.lat, shop.lon)
            if km <= template.within_km and (found is None or found[1] is None or km < found[1]):
                found = shop, km
    if found is None:
        found = next(((shop, None) for shop in template.shops if shop.is_default), None)
    return found


def _of_shop(found: tuple[Shop, float | None], part: str) -> Any:
    shop, km = found
    if part == "km":
        return None if km is None else round(km) or 1
    return getattr(shop, part, None) or None


def _constants(template: Template, brand: str, now: datetime | None) -> dict[str, Any]:
    """What is the same for everybody, unless a row says something else."""
    found: dict[str, Any] = {"brand.name": brand}
    found.update({f"link.{name}": url for name, url in template.links.items()})
    if now is not None:
        found["now"] = now.isoformat()
    coupon = template.coupon
    if coupon is not None:
        found["coupon.code"], found["coupon.url"] = coupon.code, coupon.url
        if coupon.life_s and now is not None:
            found["coupon.expires_at"] = (now + timedelta(seconds=coupon.life_s)).isoformat()
    return {name: value for name, value in found.items() if value}


def _part(of: Any, name: str) -> Any:
    if isinstance(of, Mapping):
        return of.get(name)
    if isinstance(of, list | tuple) and name.isdecimal() and len(name) < 5 and int(name) < len(of):
        return of[int(name)]
    return None


# Values ---------------------------------------------------------------------------------------------------------------


def _data(value: Any, name: bool, depth: int = 0) -> Any:
    """Make data of a value from outside: texts cleaned, lists as long as a loop; None for what says nothing."""
    if isinstance(value, str):
        return clean(value, is_name=name) or None
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 1e15 else value
    if depth >= _MOST_DEEP:
        return None
    if isinstance(value, list | tuple):
        items = (_data(one, name, depth + 1) for one in value[:MOST_TURNS])
        return [one for one in items if one is not None] or None
    if isinstance(value, Mapping):
        parts = ((str(key), _data(one, name, depth + 1)) for key, one in list(value.items())[:_MOST_KEYS])
        return {key: data for key, data in parts if data is not None} or None
    return clean(str(value), is_name=name) or None


def _printed(value: Any, filters: Filters) -> Any:
    """Lay out what is printed as it stands: money as the language writes it, lists with commas."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(str(_printed(one, filters)) for one in value if not isinstance(one, list | Mapping)) or None
    if isinstance(value, Mapping):
        if value.keys() != {"amount", "currency"}:
            return None
        try:
            return filters.money(value)
        except ValueError:
            return None
    return value


def printed(value: Any, *, is_name: bool, filters: Filters) -> str | None:
    """Write a value from outside as a field prints it; None: it says nothing."""
    data = _data(value, is_name)
    found = data if data.__class__ is str else _printed(data, filters)
    return None if found is None else str(found)


# Functions of the compiled text -------------------------------------------------------------------------------------


def _same(left: Any, right: Any) -> bool:
    """Compare a number with what may be a text of digits."""
    a, b = number_of(left), number_of(right)
    return a == b if a is not None and b is not None else left == right


def _less(left: Any, right: Any) -> bool:
    """Say whether the one is below the other; nothing is below or above what is missing or of another kind."""
    a, b = number_of(left), number_of(right)
    if a is not None and b is not None:
        return a < b
    return isinstance(left, str) and isinstance(right, str) and a is b and left < right


def _most(left: Any, right: Any) -> bool:
    """As _less, or the same."""
    return left is not None and right is not None and (_less(left, right) or _same(left, right))


def _has(whole: Any, part: Any) -> bool:
    if isinstance(whole, str):
        return isinstance(part, str) and part in whole
    return isinstance(whole, list | tuple | Mapping) and part in whole


def _listed(value: Any) -> list[Any]:
    return list(value)[:MOST_TURNS] if isinstance(value, list | tuple) else []


def _number(value: Any) -> int | float:
    found = number_of(value)
    if found is None:
        raise ValueError(f"expected a number, found {str(value)[:40]!r}")
    return found


def _abort(why: Any = None) -> NoReturn:
    words = clean(str(why), is_name=False)[:_WHY_CHARACTERS] if why is not None else ""
    raise _Stop(f"{ABORTED}:{words or 'aborted'}")


class _Variant:
    """One text of a template, compiled."""

    def __init__(self, renderer: Renderer, text: str, language: str, zone: str):
        self._renderer = renderer
        self._filters = Filters(language, zone)
        self._zone = zone
        pieces = templatetext.parse(text)
        writer = _Writer(is_blank=renderer.template.missing == "blank")
        source = writer.pieces(pieces)
        self._missing = writer.missing
        self.uses_clock = "date" in writer.filters
        self.names = tuple(dict.fromkeys(name for name, _ in writer.fields))
        self._fields = [
            (variable, name, is_name(name, renderer.template.names), is_printed)
            for (name, is_printed), variable in writer.fields.items()
        ]
        self._is_constant = not self._fields and len(pieces) < 2 and isinstance(next(iter(pieces), None), Literal)
        environment = minijinja.Environment(
            undefined_behavior="chainable",
            auto_escape_callback=lambda _: False,
            keep_trailing_newline=True,
            pycompat=False,
            debug=False,
            fuel=FUEL,
        )
        for name, function in self._filters.by_name.items():
            environment.add_filter(name, function)
        functions: dict[str, Callable[..., Any]] = {
            "same": _same, "less": _less, "most": _most, "has": _has, "listed": _listed, "number_of": _number,
            "abort": _abort, "missing": self._miss, "given": self._given,
        }  # fmt: skip
        for name, function in functions.items():
            # add_function is the same, and not in the package's stubs.
            environment.add_global(name, function)
        environment.add_template("text", source)
        self._environment = environment

    def _miss(self, at: int) -> NoReturn:
        raise _Stop(f"{MISSING}:{self._missing[at]}")

    def _given(self, value: Any, at: int) -> Any:
        return self._miss(at) if value is None or value == "" else value

    def render(self, row: Mapping[str, Any]) -> str:
        """Render the text of one person; raises _Stop."""
        values = {}
        value_of, filters, defaults = self._renderer.value_of, self._filters, self._renderer.template.defaults
        for variable, name, named, is_printed in self._fields:
            value = _data(value_of(name, row), named)
            if is_printed and value.__class__ is not str:
                value = _printed(value, filters)
            if value is None:
                value = defaults.get(name)
            if value is not None:
                values[variable] = value
        if self.uses_clock:
            zone = row.get("zone")
            filters.turn_to(zone if isinstance(zone, str) else "", self._zone)
        try:
            return self._environment.render_template("text", **values)
        except _Stop:
            raise
        except minijinja.TemplateError as error:
            kind = "too_much" if error.kind == "OutOfFuel" else "failed"
            raise _Stop(f"{ABORTED}:{kind}") from None
        except (ValueError, TypeError, ArithmeticError) as error:
            raise _Stop(f"{ABORTED}:{str(error)[:_WHY_CHARACTERS]}") from None


class _Writer:
    """Writes the source that minijinja is given.

    fields   (name, whether it is printed as it stands) → variable
    missing  names by the number that `missing(…)` is called with
    """

    def __init__(self, *, is_blank: bool):
        self.fields: dict[tuple[str, bool], str] = {}
        self.missing: list[str] = []
        self.filters: set[str] = set()
        self._is_blank = is_blank
        self._locals: dict[str, str] = {}
        self._named_of: dict[str, str] = {}
        self._appended = 0

    def pieces(self, pieces: Sequence[Piece]) -> str:
        return "".join(self._piece(piece) for piece in pieces)

    def _piece(self, piece: Piece) -> str:
        if isinstance(piece, Literal):
            # What braces could be taken for goes in as a value.
            return f"{{{{ {_constant(piece.text)} }}}}" if "{" in piece.text or piece.text[:1] == "\n" else piece.text
        if isinstance(piece, Output):
            return f"{{{{ {self._output(piece.of)} }}}}"
        if isinstance(piece, Abort):
            return f"{{{{ abort({self._value(piece.why)}) }}}}"
        if isinstance(piece, Assign):
            source = next((path.name for path in paths(piece.of)), piece.name)
            of = self._value(piece.of)
            self._named_of[piece.name] = source
            return f"{{% set {self._local(piece.name)} = {of} %}}"
        if isinstance(piece, For):
            source = f"listed({self._value(piece.source)})"
            self._named_of[piece.name] = piece.name
            name = self._local(piece.name)
            otherwise = f"{{% else %}}{self.pieces(piece.otherwise)}" if piece.otherwise else ""
            return f"{{% for {name} in {source} %}}{self.pieces(piece.body)}{otherwise}{{% endfor %}}"
        found = []
        assert isinstance(piece, If)
        for at, (condition, body) in enumerate(piece.branches):
            word = "else" if condition is None else f"{'elif' if at else 'if'} {self._value(condition)}"
            found.append(f"{{% {word} %}}{self.pieces(body)}")
        return "".join(found) + "{% endif %}"

    def _local(self, name: str) -> str:
        return self._locals.setdefault(name, f"v{len(self._locals)}")

    def _output(self, of: Expression) -> str:
        """Write what is printed: what is missing there ends the message, or is nothing."""
        if isinstance(of, Path):
            return self._guarded(self._path(of, is_printed=True), of)
        if isinstance(of, Binary) and of.mark in ("and", "or"):
            name = next((path.name for path in paths(of)), "")
            return f"given({self._value(of)}, {self._miss(name)})" if not self._is_blank else self._value(of)
        return self._expression(of, is_guarded=True)

    def _value(self, of: Expression) -> str:
        """Write what is asked, and may be missing."""
        return self._expression(of, is_guarded=False)

    def _guarded(self, written: str, path: Path) -> str:
        if self._is_blank:
            return f"({written} if {written} is defined else '')"
        return f"({written} if {written} is defined else missing({self._miss(self._name_of(path))}))"

    def _name_of(self, path: Path) -> str:
        return (
            ".".join([self._named_of.get(path.names[0], path.names[0]), *path.names[1:]])
            if path.is_local
            else path.name
        )

    def _miss(self, name: str) -> int:
        if name not in self.missing:
            self.missing.append(name)
        return self.missing.index(name)

    def _path(self, path: Path, *, is_printed: bool) -> str:
        if not path.is_local:
            key = path.name, is_printed
            return self.fields.setdefault(key, f"{'p' if is_printed else 'f'}{len(self.fields)}")
        parts = (f"[{int(name)}]" if name.isdecimal() else f"[{_constant(name)}]" for name in path.names[1:])
        return self._local(path.names[0]) + "".join(parts)

    def _expression(self, of: Expression, *, is_guarded: bool) -> str:
        if isinstance(of, Const):
            return _constant(of.value)
        if isinstance(of, Path):
            written = self._path(of, is_printed=False)
            return self._guarded(written, of) if is_guarded else written
        if isinstance(of, Filter):
            return self._filter(of, is_guarded=is_guarded)
        if isinstance(of, Not):
            return f"(not {self._value(of.of)})"
        if isinstance(of, Defined):
            return f"({self._path(of.of, is_printed=False)} is defined)"
        if isinstance(of, Items):
            return f"[{', '.join(self._expression(item, is_guarded=is_guarded) for item in of.items)}]"
        return self._binary(of, is_guarded=is_guarded)

    def _binary(self, of: Binary, *, is_guarded: bool) -> str:
        mark = of.mark
        is_value = mark in "+-*/%~"
        left, right = (self._expression(side, is_guarded=is_guarded and is_value) for side in (of.left, of.right))
        if mark == "~":
            self._appended += 1
            if self._appended > MOST_APPENDED:
                raise templatetext.TemplateFault([(of.at, f"at most {MOST_APPENDED} times ~", "one more")])
            return f"({left} ~ {right})"
        if is_value:
            return f"(number_of({left}) {mark} number_of({right}))"
        if mark in ("in", "not in"):
            return f"{'not ' * (mark == 'not in')}has({right}, {left})"
        if mark in ("==", "!="):
            equal = f"same({left}, {right})"
            if all(isinstance(side, Path | Const) and not _is_numeric(side) for side in (of.left, of.right)):
                equal = f"({left} == {right})"
            return equal if mark == "==" else f"(not {equal})"
        if mark in ("<", ">"):
            return f"less({left}, {right})" if mark == "<" else f"less({right}, {left})"
        if mark in ("<=", ">="):
            return f"most({left}, {right})" if mark == "<=" else f"most({right}, {left})"
        return f"({left} {mark} {right})"

    def _filter(self, of: Filter, *, is_guarded: bool) -> str:
        self.filters.add(of.name)
        base = _base(of)
        if of.name == "default":
            other = self._value(of.arguments[0])
            if isinstance(of.of, Path):
                written = self._path(of.of, is_printed=is_guarded)
                return f"({written} if {written} is defined else {other})"
            return f"({self._expression(of.of, is_guarded=False)}|default({other}, true))"
        arguments = ", ".join(self._value(argument) for argument in of.arguments)
        is_open = base is not None and not _has_default(of.of)
        # Without a value the whole chain is nothing, where nothing may stand there.
        is_blank = is_guarded and is_open and self._is_blank
        inner = self._expression(of.of, is_guarded=is_guarded and not is_blank)
        written = f"({inner}|{of.name}{f'({arguments})' if arguments else ''})"
        if base is None or not is_open or (is_guarded and not is_blank):
            return written
        otherwise = "''" if is_blank else "nothing"
        return f"({written} if {self._path(base, is_printed=False)} is defined else {otherwise})"


def _base(of: Expression) -> Path | None:
    """The path that a chain of filters begins with."""
    while isinstance(of, Filter):
        of = of.of
    return of if isinstance(of, Path) else None


def _has_default(of: Expression) -> bool:
    while isinstance(of, Filter):
        if of.name == "default":
            return True
        of = of.of
    return False


def _is_numeric(side: Expression) -> bool:
    return isinstance(side, Const) and isinstance(side.value, int | float) and not isinstance(side.value, bool)


def _constant(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False)


def variants(template: Template) -> Iterator[tuple[str, str]]:
    """Every text with the language it is in."""
    for key, text in template.texts().items():
        yield key.partition(".")[2] or template.language, text
