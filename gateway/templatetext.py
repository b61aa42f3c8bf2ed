"""The language of templates: a text becomes a tree, or is refused with every place that is wrong.

    Hi {{ first_name | default("there") }}{% if vip %}, our best{% endif %}
    |  |                                  |
    |  output: an expression              statement: if elsif else endif · for in else endfor · assign · abort
    literal

Words of Jinja and of Liquid are both taken: `elif` and `elsif`, `set` and `assign`, `truncate(20)` and `truncate: 20`.
`{FirstName}` `{SiteName}` `{DiscountCode}` `{DiscountCodeUrl}` are fields too (TP-1); other single braces stand for
themselves. `{{-` and `-%}` take the white space beside them away.
Not here: which filters there are and what they do (campaign/filters.py), rendering (campaign/rendering.py).
"""

import difflib
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeAlias

from msgspec import Struct

# TP-1: by their lower case, as old texts have them in any.
ALIASES = {
    "firstname": "first_name",
    "sitename": "brand.name",
    "discountcode": "coupon.code",
    "discountcodeurl": "coupon.url",
}
MOST_OCTETS = 10_000
"""Of a template and of what comes out of it (TP-1)."""
MOST_TURNS = 20
"""Of a loop (TP-1)."""
_MOST_DEEP = 20
_OPEN = re.compile(r"\{\{-?|\{%-?|\{#-?|\{([A-Za-z]+)\}")
_TOKEN = re.compile(
    r"\s*(?:(?P<string>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')|(?P<number>\d+(?:\.\d+)?)|(?P<name>[^\W\d]\w*)"
    r"|(?P<mark>==|!=|<=|>=|[-+*/%~<>()\[\],.|:=]))",
    re.S,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_CONSTANTS = {
    "true": True, "True": True, "false": False, "False": False, "none": None, "None": None, "nil": None, "null": None,
}  # fmt: skip
_WORDS = frozenset(("and", "or", "not", "in", "is", "contains", "if", "else", "for", *_CONSTANTS))
FILTERS: Mapping[str, tuple[int, int]] = {
    "default": (1, 2), "capitalize": (0, 0), "upcase": (0, 0), "downcase": (0, 0), "truncate": (0, 2),
    "truncatewords": (0, 2), "date": (0, 2), "number": (0, 1), "money": (0, 1), "pluralize": (1, 2),
    "first_name": (0, 0), "url_encode": (0, 0), "gsm": (0, 0),
}  # fmt: skip
"""Filters, and of how many arguments at least and at most (TP-1)."""
_OTHER_NAMES = {"upper": "upcase", "lower": "downcase", "urlencode": "url_encode", "capitalise": "capitalize"}
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=", "in", "not in")


class Place(NamedTuple):
    """Where something stands, both from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


class TemplateFault(ValueError):
    """What is wrong with a template: (place, expected, found), in the order they stand."""

    def __init__(self, faults: Sequence[tuple[Place, str, str]]):
        self.faults = tuple(faults)
        words = (f"{place}: expected {expected}, found {found}" for place, expected, found in faults)
        super().__init__("; ".join(words))


class Const(Struct, frozen=True, kw_only=True):
    """A text, a number, true, false or none, as it is written."""

    value: str | int | float | bool | None
    at: Place


class Path(Struct, frozen=True, kw_only=True):
    """A field, or what a loop or an assignment has named: its names from the left."""

    names: tuple[str, ...]
    at: Place
    is_local: bool = False

    @property
    def name(self) -> str:
        """As it is written; `profile.` may stand before an attribute or not."""
        names = self.names[1:] if self.names[0] == "profile" and len(self.names) > 1 else self.names
        return ".".join(names)


class Filter(Struct, frozen=True, kw_only=True):
    """What is done to a value on its way out."""

    of: "Expression"
    name: str
    arguments: tuple["Expression", ...]
    at: Place


class Binary(Struct, frozen=True, kw_only=True):
    """Two values and what stands between them."""

    mark: str
    left: "Expression"
    right: "Expression"
    at: Place


class Not(Struct, frozen=True, kw_only=True):
    """The contrary."""

    of: "Expression"
    at: Place


class Defined(Struct, frozen=True, kw_only=True):
    """Whether a field has a value: `is defined`."""

    of: Path
    at: Place


class Items(Struct, frozen=True, kw_only=True):
    """A list as it is written."""

    items: tuple["Expression", ...]
    at: Place


Expression: TypeAlias = Const | Path | Filter | Binary | Not | Defined | Items


class Literal(Struct, frozen=True, kw_only=True):
    """What goes out as it stands."""

    text: str
    at: Place


class Output(Struct, frozen=True, kw_only=True):
    """What goes out in the place of an expression."""

    of: Expression
    at: Place


class If(Struct, frozen=True, kw_only=True):
    """The first branch that is true; the last may have no condition."""

    branches: tuple[tuple[Expression | None, tuple["Piece", ...]], ...]
    at: Place


class For(Struct, frozen=True, kw_only=True):
    """Once for each item, at most MOST_TURNS; `otherwise` where there is none."""

    name: str
    source: Expression
    body: tuple["Piece", ...]
    otherwise: tuple["Piece", ...]
    at: Place


class Assign(Struct, frozen=True, kw_only=True):
    """A name for a value, to the end of the block."""

    name: str
    of: Expression
    at: Place


class Abort(Struct, frozen=True, kw_only=True):
    """This person gets nothing, for a reason (TP-2)."""

    why: Expression
    at: Place


Piece: TypeAlias = Literal | Output | If | For | Assign | Abort


def place_of(text: str, at: int) -> Place:
    """Say where an index of a text is."""
    return Place(text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))


def parse(text: str) -> tuple[Piece, ...]:
    """Read a template.

    raises  TemplateFault
    """
    text = unicodedata.normalize("NFC", text)
    size = len(text.encode(errors="replace"))
    if size > MOST_OCTETS:
        raise TemplateFault([(Place(1, 1), f"at most {MOST_OCTETS:,} octets", f"{size:,}")])
    if any("\ud800" <= one <= "\udfff" for one in text):
        at = next(at for at, one in enumerate(text) if "\ud800" <= one <= "\udfff")
        raise TemplateFault([(place_of(text, at), "a character", "half of a surrogate pair")])
    reader = _Reader(text)
    pieces = reader.pieces(())[0]
    return pieces


def fields(pieces: Sequence[Piece]) -> Iterator[Path]:
    """All fields of a tree, in the order they stand; names that are its own are none."""
    for _, path in uses(pieces):
        yield path


def uses(pieces: Sequence[Piece]) -> Iterator[tuple[Expression, Path]]:
    """All fields with the whole expression that each stands in."""
    for expression in expressions(pieces):
        for path in paths(expression):
            if not path.is_local:
                yield expression, path


def expressions(pieces: Sequence[Piece]) -> Iterator[Expression]:
    """All expressions of a tree, from the left."""
    for piece in pieces:
        if isinstance(piece, Output | Assign):
            yield piece.of
        elif isinstance(piece, Abort):
            yield piece.why
        elif isinstance(piece, For):
            yield piece.source
            yield from expressions(piece.body)
            yield from expressions(piece.otherwise)
        elif isinstance(piece, If):
            for condition, body in piece.branches:
                if condition is not None:
                    yield condition
                yield from expressions(body)


def paths(expression: Expression) -> Iterator[Path]:
    """All paths of an expression, its own names among them."""
    if isinstance(expression, Path):
        yield expression
    elif isinstance(expression, Filter):
        yield from paths(expression.of)
        for argument in expression.arguments:
            yield from paths(argument)
    elif isinstance(expression, Binary):
        yield from paths(expression.left)
        yield from paths(expression.right)
    elif isinstance(expression, Not | Defined):
        yield from paths(expression.of)
    elif isinstance(expression, Items):
        for item in expression.items:
            yield from paths(item)


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class _Reader:
    """Goes through a text once; the first fault ends it."""

    def __init__(self, text: str):
        self._text = text
        self._at = 0
        self._strips = False
        self._depth = 0
        self._locals: list[str] = []
        self._tokens: list[_Token] = []
        self._next = 0

    def _fail(self, at: int, expected: str, found: str) -> NoReturn:
        raise TemplateFault([(place_of(self._text, at), expected, found)])

    def pieces(self, ends: tuple[str, ...], block: Place | None = None) -> tuple[tuple[Piece, ...], str]:
        """Read up to one of the words that end a block; -> pieces, and the word, whose rest is still to be read."""
        found: list[Piece] = []
        self._depth += 1
        if self._depth > _MOST_DEEP:
            self._fail(self._at, f"at most {_MOST_DEEP} levels in one another", "one more")
        while True:
            opening = self._opening()
            self._literal(found, len(self._text) if opening is None else opening.start(), opening)
            if opening is None:
                if ends:
                    assert block is not None
                    raise TemplateFault([(block, f"a block that is closed by {ends[-1]}", "the end of the text")])
                break
            at = opening.start()
            if opening[1]:
                self._at = opening.end()
                found.append(self._alias(opening[1], at))
            elif opening[0].startswith("{#"):
                self._close(opening, "#}")
            elif opening[0].startswith("{{"):
                self._close(opening, "}}")
                found.append(self._output(place_of(self._text, at)))
            else:
                self._close(opening, "%}")
                word = self._take("name", "a statement such as if, for or assign").text
                if word in ends:
                    self._depth -= 1
                    return tuple(found), word
                found.append(self._statement(word, at))
        self._depth -= 1
        return tuple(found), ""

    def _opening(self) -> "re.Match[str] | None":
        at = self._at
        while True:
            found = _OPEN.search(self._text, at)
            if found is None or not found[1] or found[1].lower() in ALIASES:
                return found
            at = found.end()

    def _literal(self, found: list[Piece], end: int, opening: "re.Match[str] | None") -> None:
        begin, text = self._at, self._text[self._at : end]
        if self._strips:
            begin += len(text) - len(text.lstrip())
            text = text.lstrip()
        if opening is not None and opening[0].endswith("-"):
            text = text.rstrip()
        self._strips = False
        if text:
            found.append(Literal(text=text, at=place_of(self._text, begin)))

    def _alias(self, word: str, at: int) -> Output:
        place = place_of(self._text, at)
        return Output(of=Path(names=tuple(ALIASES[word.lower()].split(".")), at=place), at=place)

    def _close(self, opening: "re.Match[str]", mark: str) -> None:
        """Cut what stands inside of a pair of marks into tokens, and go behind it."""
        self._tokens, self._next = [], 0
        at = opening.end()
        if mark == "#}":
            end = self._text.find(mark, at)
            if end < 0:
                self._fail(opening.start(), "a comment that is closed by #}", "the end of the text")
            self._strips = self._text[end - 1] == "-" and end > at
            self._at = end + 2
            return
        while True:
            rest = re.compile(r"\s*(-?)" + re.escape(mark)).match(self._text, at)
            if rest is not None:
                self._strips = bool(rest[1])
                self._at = rest.end()
                self._tokens.append(_Token("end", mark, rest.start()))
                return
            token = _TOKEN.match(self._text, at)
            if token is None:
                left = self._text[at:].lstrip()
                if not left:
                    self._fail(opening.start(), f"what is closed by {mark}", "the end of the text")
                self._fail(len(self._text) - len(left), f"a name, a value or {mark}", repr(left[0]))
            kind = str(token.lastgroup)
            self._tokens.append(_Token(kind, token[kind], token.start(kind)))
            at = token.end()

    def _peek(self, *marks: str) -> bool:
        token = self._tokens[self._next]
        return token.kind in ("mark", "name") and token.text in marks

    def _skip(self, *marks: str) -> bool:
        if self._peek(*marks):
            self._next += 1
            return True
        return False

    def _take(self, kind: str, expected: str) -> _Token:
        token = self._tokens[self._next]
        if token.kind != kind:
            self._fail(token.at, expected, repr(token.text))
        self._next += 1
        return token

    def _must(self, mark: str) -> None:
        if not self._skip(mark):
            token = self._tokens[self._next]
            self._fail(token.at, repr(mark), repr(token.text))

    def _end(self) -> None:
        token = self._tokens[self._next]
        if token.kind != "end":
            self._fail(token.at, f"the end of it, {self._tokens[-1].text}", repr(token.text))

    def _output(self, place: Place) -> Piece:
        token = self._tokens[self._next]
        if token.kind == "name" and token.text in ("abort", "abort_message") and self._tokens[1].text == "(":
            self._next += 1
            return self._abort(place)
        of = self._expression()
        self._end()
        return Output(of=of, at=place)

    def _abort(self, place: Place) -> Abort:
        has_braces = self._skip("(")
        if (has_braces and self._peek(")")) or self._tokens[self._next].kind == "end":
            why: Expression = Const(value="aborted", at=place)
        else:
            why = self._expression()
        if has_braces:
            self._must(")")
        self._end()
        return Abort(why=why, at=place)

    def _statement(self, word: str, at: int) -> Piece:
        place = place_of(self._text, at)
        if word == "if":
            return self._if(place)
        if word == "for":
            return self._for(place)
        if word in ("assign", "set"):
            name = self._new_name()
            self._must("=")
            of = self._expression()
            self._end()
            self._locals.append(name)
            return Assign(name=name, of=of, at=place)
        if word in ("abort", "abort_message"):
            return self._abort(place)
        self._fail(at, "if, for, assign or abort, or the end of a block that is open", repr(word))

    def _new_name(self) -> str:
        token = self._take("name", "a name")
        if token.text in _WORDS:
            self._fail(token.at, "a name that is no word of the language", repr(token.text))
        return token.text

    def _if(self, place: Place) -> If:
        branches: list[tuple[Expression | None, tuple[Piece, ...]]] = []
        condition: Expression | None = self._expression()
        while True:
            self._end()
            body, word = self.pieces(("elif", "elsif", "else", "endif") if condition is not None else ("endif",), place)
            branches.append((condition, body))
            if word == "endif":
                self._end()
                return If(branches=tuple(branches), at=place)
            condition = None
            if word != "else" or self._skip("if"):
                condition = self._expression()

    def _for(self, place: Place) -> For:
        name = self._new_name()
        self._must("in")
        source = self._expression()
        self._end()
        outside = len(self._locals)
        self._locals.append(name)
        body, word = self.pieces(("else", "endfor"), place)
        # What is named within a loop is forgotten behind it; what a branch names stays.
        del self._locals[outside:]
        otherwise: tuple[Piece, ...] = ()
        self._end()
        if word == "else":
            otherwise, _ = self.pieces(("endfor",), place)
            self._end()
        return For(name=name, source=source, body=body, otherwise=otherwise, at=place)

    # Expressions, those that bind least first.

    def _expression(self) -> Expression:
        self._depth += 1
        if self._depth > _MOST_DEEP:
            self._fail(self._tokens[self._next].at, f"at most {_MOST_DEEP} levels in one another", "one more")
        left = self._and()
        while self._peek("or"):
            at = self._step()
            left = Binary(mark="or", left=left, right=self._and(), at=at)
        self._depth -= 1
        return left

    def _step(self) -> Place:
        at = self._tokens[self._next].at
        self._next += 1
        return place_of(self._text, at)

    def _and(self) -> Expression:
        left = self._not()
        while self._peek("and"):
            at = self._step()
            left = Binary(mark="and", left=left, right=self._not(), at=at)
        return left

    def _not(self) -> Expression:
        turns, at = 0, place_of(self._text, self._tokens[self._next].at)
        while self._skip("not"):
            turns += 1
        found = self._comparison()
        return Not(of=found, at=at) if turns % 2 else found

    def _comparison(self) -> Expression:
        left = self._sum()
        while True:
            token = self._tokens[self._next]
            if self._peek("==", "!=", "<", "<=", ">", ">=", "in"):
                at = self._step()
                left = Binary(mark=token.text, left=left, right=self._sum(), at=at)
            elif self._peek("contains"):
                at = self._step()
                left = Binary(mark="in", left=self._sum(), right=left, at=at)
            elif self._peek("not") and self._tokens[self._next + 1].text == "in":
                at = self._step()
                self._next += 1
                left = Binary(mark="not in", left=left, right=self._sum(), at=at)
            elif self._peek("is"):
                left = self._test(left)
            else:
                return left

    def _test(self, of: Expression) -> Expression:
        at = self._step()
        is_not = self._skip("not")
        word = self._take("name", "defined")
        if word.text not in ("defined", "none", "undefined"):
            self._fail(word.at, "defined", repr(word.text))
        if not isinstance(of, Path):
            self._fail(word.at, "a field in front of `is`", "an expression")
        found: Expression = Defined(of=of, at=at)
        return Not(of=found, at=at) if is_not != (word.text in ("none", "undefined")) else found

    def _sum(self) -> Expression:
        left = self._product()
        while self._peek("+", "-", "~"):
            token = self._tokens[self._next]
            at = self._step()
            left = Binary(mark=token.text, left=left, right=self._product(), at=at)
        return left

    def _product(self) -> Expression:
        left = self._filtered()
        while self._peek("*", "/", "%"):
            token = self._tokens[self._next]
            at = self._step()
            left = Binary(mark=token.text, left=left, right=self._filtered(), at=at)
        return left

    def _filtered(self) -> Expression:
        found = self._value()
        while self._peek("|"):
            at = self._step()
            word = self._take("name", "the name of a filter")
            name = _OTHER_NAMES.get(word.text, word.text)
            if name not in FILTERS:
                close = difflib.get_close_matches(name, FILTERS, 1)
                meant = f" (did you mean {close[0]}?)" if close else ""
                self._fail(word.at, f"one of the filters {', '.join(FILTERS)}{meant}", repr(word.text))
            arguments: list[Expression] = []
            if self._skip("("):
                while not self._skip(")"):
                    arguments.append(self._expression())
                    if not self._peek(")"):
                        self._must(",")
            elif self._skip(":"):
                # A filter behind it is one of the whole.
                arguments.append(self._value())
                while self._skip(","):
                    arguments.append(self._value())
            least, most = FILTERS[name]
            if not least <= len(arguments) <= most:
                wanted = f"{least} to {most}" if least < most else f"{most or 'no'}"
                self._fail(word.at, f"{wanted} arguments of {name}", f"{len(arguments)}")
            found = Filter(of=found, name=name, arguments=tuple(arguments), at=at)
        return found

    def _value(self) -> Expression:
        token = self._tokens[self._next]
        place = place_of(self._text, token.at)
        if self._skip("-"):
            number = self._take("number", "a number")
            return Const(value=-_number(number.text), at=place)
        if self._skip("("):
            found = self._expression()
            self._must(")")
            return found
        if self._skip("["):
            items: list[Expression] = []
            while not self._skip("]"):
                items.append(self._expression())
                if not self._peek("]"):
                    self._must(",")
            return Items(items=tuple(items), at=place)
        self._next += 1
        if token.kind == "string":
            return Const(value=self._unquoted(token), at=place)
        if token.kind == "number":
            return Const(value=_number(token.text), at=place)
        if token.kind != "name":
            self._fail(token.at, "a field or a value", repr(token.text))
        if token.text in _CONSTANTS:
            return Const(value=_CONSTANTS[token.text], at=place)
        if token.text in _WORDS:
            self._fail(token.at, "a field or a value", repr(token.text))
        if self._peek("("):
            self._fail(token.at, "a field or a value; abort(…) stands alone", f"a call of {token.text!r}")
        return self._path(token, place)

    def _path(self, token: _Token, place: Place) -> Path:
        names = [token.text]
        while self._peek(".", "["):
            if self._skip("."):
                names.append(self._take("name", "the name of a part").text)
                continue
            self._next += 1
            part = self._tokens[self._next]
            if part.kind not in ("string", "number"):
                self._fail(part.at, "a name in quotes, or a number", repr(part.text))
            self._next += 1
            names.append(self._unquoted(part) if part.kind == "string" else part.text)
            self._must("]")
        return Path(names=tuple(names), at=place, is_local=names[0] in self._locals)

    def _unquoted(self, token: _Token) -> str:
        text = re.sub(
            r"\\(?:u([0-9A-Fa-f]{4})|(.))",
            lambda found: chr(int(found[1], 16)) if found[1] else _ESCAPES.get(found[2], found[2]),
            token.text[1:-1],
            flags=re.S,
        )
        try:
            # Two escapes may be the halves of one character.
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._fail(token.at, "characters", f"half of a surrogate pair in {token.text}")


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def constant(expression: Expression) -> Any:
    """The value of an expression that is one; None for others."""
    return expression.value if isinstance(expression, Const) else None
