"""The text of an audience: read, written, checked.

    orders.last > 30d and not clicked(last_campaign) and country = 'DE' and count(order_placed, 90d, total > 100) >= 2

    text ─► parse ─► tree ─► write ─► text        parse(write(tree)) == tree, for each tree that makes sense
                       ╰───► evaluation.py, store/audiences.py

A fault says line and column, what was expected and what was found, and which name may have been meant. What is known
(the names of attributes, events, lists, other audiences) is an argument; a tree that came as JSON is checked by way of
its text.
The language: docs/audiences.md. Not here: what it means for a person (evaluation.py).
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NoReturn, get_args

from msgspec import Struct

from gateway import predicate
from gateway.errors import AudienceFault
from gateway.predicate import (
    FIELDS,
    LONGEST_S,
    SECONDS,
    UTM_FIELD,
    And,
    Attribute,
    Bucket,
    Compare,
    Consent,
    Count,
    Duration,
    Everyone,
    Field,
    InList,
    InSegment,
    Message,
    Moment,
    Money,
    Near,
    Not,
    Op,
    Operand,
    Or,
    Predicate,
    Rfm,
    Selected,
    Unit,
    Value,
    Window,
)
from gateway.rfm import GROUPS

# Refused beyond: nobody writes it, and each costs a scan, or a frame of the stack.
MOST_CHARACTERS = 100_000
MOST_DEPTH = 40
MOST_NODES = 500
MOST_EVENT_NODES = 12
MOST_VALUES = 10_000
MOST_WILDCARDS = 8

Kind = Literal["any", "string", "number", "bool", "time", "money", "array", "object"]
UNIT_WORDS: Mapping[str, Unit] = {
    **{word: "s" for word in ("s", "sec", "second", "seconds")},
    **{word: "min" for word in ("min", "minute", "minutes")},
    **{word: "h" for word in ("h", "hour", "hours")},
    **{word: "d" for word in ("d", "day", "days")},
    **{word: "w" for word in ("w", "week", "weeks")},
    **{word: "mo" for word in ("mo", "month", "months")},
    **{word: "y" for word in ("y", "year", "years")},
}
ORDERED: tuple[Op, ...] = ("<", "<=", ">", ">=")
WORD_OPS: tuple[Op, ...] = ("in", "contains", "starts_with", "matches", "exists", "within", "before", "after")
KEYWORDS = {
    "and",
    "or",
    "not",
    "true",
    "false",
    "null",
    "everyone",
    "ci",
    "next",
    "calendar",
    "between",
    "ever",
    *WORD_OPS,
}
PREDICATES = ("in_list", "in_segment", "consent", "received", "clicked", "replied", "near", "did", "rfm")
OPERANDS = ("count", "first", "last", "any", "all", "none")
# A first name that is one of these, an attribute of that name stands in quotes.
TAKEN = KEYWORDS | set(PREDICATES) | set(OPERANDS) | {name.split(".")[0] for name in FIELDS} | {"utm", "bucket"}

_TOKEN = re.compile(
    r"""
      (?P<blank>   \s+ )
    | (?P<string>  ' (?: [^'] | '' )* (?P<string_end>')? )
    | (?P<quoted>  " (?: [^"] | "" )* (?P<quoted_end>")? )
    | (?P<moment>  \d{4}-\d\d-\d\d (?: T [0-9:.]+ (?: Z | [+-]\d\d:\d\d )? )? )
    | (?P<number>  -? \d+ (?: \.\d+ )? (?: [eE][+-]?\d+ )? )
    | (?P<word>    [^\W\d]\w* )
    | (?P<op>      != | <> | <= | >= | = | < | > )
    | (?P<mark>    [(),.] )
    """,
    re.VERBOSE,
)
_BARE = re.compile(r"[^\W\d]\w*\Z")


class Known(Struct, frozen=True, kw_only=True):
    """The names that an audience may use; of attributes and properties their types. None: not looked at.

    segments  other audiences by name; theirs are whole
    """

    attributes: Mapping[str, str] | None = None
    properties: Mapping[str, Mapping[str, str]] | None = None
    lists: frozenset[str] | None = None
    segments: Mapping[str, Predicate] | None = None


ANYTHING = Known()
# Events of ours have these whether one was seen or not.
OWN_EVENTS = (
    "submitted", "delivered", "failed", "expired", "clicked", "replied", "opted_out", "opted_in", "session_ended",
)  # fmt: skip


class _Token(Struct, frozen=True):
    kind: str
    text: str
    at: int


def parse(text: str, known: Known = ANYTHING) -> Predicate:
    """Read an audience.

    raises  AudienceFault: line, column, expected, found
    """
    return _Parser(text, known).whole()


def check(tree: Predicate, known: Known = ANYTHING) -> None:
    """Refuse a tree that makes no sense, by way of its text, whose line and column the fault says.

    raises  AudienceFault
    """
    # Before anything recurs into it: the limits that its text will be held to.
    nodes = [tree]
    for _ in range(MOST_DEPTH):
        nodes = [one for node in nodes for one in _below(node)]
        if not nodes:
            break
    else:
        raise AudienceFault(1, 1, f"expected at most {MOST_DEPTH} levels, found more")
    if parse(text := write(tree), known) != tree:
        raise AudienceFault(1, 1, f"expected a tree that its text says whole, found one that reads {text!r}")


def _below(tree: Predicate) -> Iterable[Predicate]:
    if isinstance(tree, And | Or):
        return tree.of
    if isinstance(tree, Not):
        return (tree.of,)
    if isinstance(tree, Compare) and isinstance(tree.what, Count | Selected) and tree.what.where is not None:
        return (tree.what.where,)
    return ()


def expand(tree: Predicate, segments: Mapping[str, Predicate]) -> Predicate:
    """Put the other audiences in the place of their names.

    raises  AudienceFault: one that is not known, one that is asked of itself, or more than can be asked at once
    """
    room = [MOST_NODES]
    grown = _expanded(tree, segments, (), room)
    events = len(set(predicate.events_of(grown)))
    if events > MOST_EVENT_NODES:
        raise AudienceFault(
            1, 1, f"expected at most {MOST_EVENT_NODES} conditions on events with other audiences', found {events}"
        )
    return grown


def _expanded(
    tree: Predicate, segments: Mapping[str, Predicate], within: tuple[str, ...], room: list[int]
) -> Predicate:
    """room: how many nodes may still come, in one place for all that is put in."""
    room[0] -= 1
    if room[0] < 0:
        raise AudienceFault(1, 1, f"expected at most {MOST_NODES} conditions with other audiences', found more")
    if isinstance(tree, And):
        return And(tuple(_expanded(one, segments, within, room) for one in tree.of))
    if isinstance(tree, Or):
        return Or(tuple(_expanded(one, segments, within, room) for one in tree.of))
    if isinstance(tree, Not):
        return Not(_expanded(tree.of, segments, within, room))
    if not isinstance(tree, InSegment):
        return tree
    if tree.name in within:
        raise AudienceFault(1, 1, f"in_segment: {' → '.join([*within, tree.name])}: an audience is asked of itself")
    if tree.name not in segments:
        raise AudienceFault(1, 1, f"in_segment: expected an audience, found {tree.name!r}{_near(tree.name, segments)}")
    if len(within) >= MOST_DEPTH:
        raise AudienceFault(1, 1, f"in_segment: expected at most {MOST_DEPTH} audiences within each other, found more")
    return _expanded(segments[tree.name], segments, (*within, tree.name), room)


def _near(name: str, among: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(among), 1, 0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


# -- reading -----------------------------------------------------------------------------------------------------------


class _Parser:
    """One text, token by token; a method a rule of the grammar."""

    def __init__(self, text: str, known: Known):
        self._text = text
        self._known = known
        self._event: str | None = None  # whose properties are spoken of
        self._depth = self._nodes = self._event_nodes = 0
        if len(text) > MOST_CHARACTERS:
            self._refuse(f"expected at most {MOST_CHARACTERS} characters, found {len(text)}", 0)
        self._tokens = list(self._cut())
        self._next = 0

    def whole(self) -> Predicate:
        tree = self._or()
        if (token := self._peek()).kind != "end":
            self._refuse(f"expected and, or, or the end, found {self._found(token)}", token.at)
        return tree

    # tokens

    def _cut(self) -> Iterable[_Token]:
        at = 0
        while at < len(self._text):
            match = _TOKEN.match(self._text, at)
            if match is None:
                self._refuse(f"expected a name, a value or an operator, found {self._text[at]!r}", at)
            kind, text = str(match.lastgroup), match[0]
            if kind.endswith("_end"):
                kind = kind.removesuffix("_end")
            if kind in ("string", "quoted"):
                if match[f"{kind}_end"] is None:
                    self._refuse(
                        f"expected the end of what is quoted, found the end; {text[0]} is written twice inside", at
                    )
                text = text[1:-1].replace(text[0] * 2, text[0])
                if "\0" in text or not _is_encodable(text):
                    self._refuse("expected letters that can be kept, found NUL or half a character", at)
            if kind != "blank":
                yield _Token(kind, text, at)
            at = match.end()
        yield _Token("end", "", len(self._text))

    def _peek(self, ahead: int = 0) -> _Token:
        return self._tokens[min(self._next + ahead, len(self._tokens) - 1)]

    def _take(self) -> _Token:
        token = self._peek()
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _is(self, text: str, ahead: int = 0) -> bool:
        token = self._peek(ahead)
        return token.kind in ("word", "mark", "op") and token.text == text

    def _taken(self, text: str) -> bool:
        if self._is(text):
            self._take()
            return True
        return False

    def _expect(self, mark: str) -> None:
        if not self._taken(mark):
            self._refuse(f"expected {mark!r}, found {self._found(self._peek())}", self._peek().at)

    def _found(self, token: _Token) -> str:
        return "the end" if token.kind == "end" else repr(token.text)

    def _refuse(self, message: str, at: int) -> NoReturn:
        line = self._text.count("\n", 0, at) + 1
        raise AudienceFault(line, at - (self._text.rfind("\n", 0, at) + 1) + 1, message)

    # conditions

    def _or(self) -> Predicate:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            self._refuse(f"expected at most {MOST_DEPTH} levels, found more", self._peek().at)
        found = [self._and()]
        while self._taken("or"):
            found.append(self._and())
        self._depth -= 1
        return found[0] if len(found) == 1 else Or(tuple(found))

    def _and(self) -> Predicate:
        found = [self._not()]
        while self._taken("and"):
            found.append(self._not())
        return found[0] if len(found) == 1 else And(tuple(found))

    def _not(self) -> Predicate:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            self._refuse(f"expected at most {MOST_NODES} conditions, found more", self._peek().at)
        if self._taken("not"):
            self._depth += 1
            if self._depth > MOST_DEPTH:
                self._refuse(f"expected at most {MOST_DEPTH} levels, found more", self._peek().at)
            found = self._not()
            self._depth -= 1
            return Not(found)
        if self._taken("("):
            found = self._or()
            self._expect(")")
            return found
        token = self._peek()
        if self._is("everyone"):
            self._only_of_persons(token)
            self._take()
            return Everyone()
        if token.kind == "word" and token.text in PREDICATES and self._is("(", 1):
            self._only_of_persons(token)
            return self._asked(self._take())
        return self._comparison()

    def _only_of_persons(self, token: _Token) -> None:
        if self._event is not None:
            self._refuse(f"expected a condition on properties of {self._event!r}, found {token.text!r}", token.at)

    def _asked(self, name: _Token) -> Predicate:
        """What is asked of a person by name: in_list('vip')."""
        self._expect("(")
        found: Predicate
        match name.text:
            case "in_list":
                at = self._peek().at
                found = InList(self._name("the name of a list"))
                self._is_known(found.name, self._known.lists, "a list", at)
            case "in_segment":
                at = self._peek().at
                found = InSegment(self._name("the name of an audience"))
                self._is_known(found.name, self._known.segments, "an audience", at)
            case "consent":
                found = self._consent()
            case "near":
                found = self._near_place()
            case "did":
                found = Compare(self._count(name), ">=", 1)
            case "rfm":
                at = self._peek().at
                found = Compare(Rfm("group"), "=", self._name("the name of a group"))
                self._fits(found.what, "string", "=", found.to, "", at)
            case _:
                found = self._message(name.text)
        self._expect(")")
        return found

    def _is_known(self, name: str, among: Iterable[str] | None, what: str, at: int) -> None:
        if among is not None and name not in among:
            self._refuse(f"expected {what}, found {name!r}{_near(name, among)}", at)

    def _name(self, what: str) -> str:
        token = self._take()
        if token.kind not in ("word", "string", "quoted") or not 0 < len(token.text) <= 200:
            self._refuse(f"expected {what}, of at most 200 characters, found {self._found(token)}", token.at)
        return token.text

    def _consent(self) -> Predicate:
        token = self._take()
        for scope in ("promotional", "transactional", "night"):
            if token.text == scope:
                brand = self._name("the name of a brand") if self._taken(",") else ""
                return Consent(scope, brand)
        self._refuse(f"expected promotional, transactional or night, found {self._found(token)}", token.at)

    def _near_place(self) -> Predicate:
        at = self._peek().at
        lat = self._coordinate(90)
        self._expect(",")
        lon = self._coordinate(180)
        self._expect(",")
        km = self._number("a distance such as 5km")
        if not self._taken("km"):
            self._refuse(f"expected km, found {self._found(self._peek())}", self._peek().at)
        if not 0 < km <= 20_100:
            self._refuse(f"expected a distance above 0 and up to 20100 km, found {km:g}", at)
        path: tuple[str, ...] = ("location",)
        if self._taken(","):
            path = self._path(self._peek())
        self._of_kind(Attribute(path), "object", at)
        return Near(lat, lon, float(km), path)

    def _coordinate(self, most: int) -> float:
        at = self._peek().at
        value = float(self._number("a coordinate in degrees"))
        if abs(value) > most:
            self._refuse(f"expected degrees from -{most} to {most}, found {value:g}", at)
        return value

    def _of_kind(self, operand: Operand, kind: str, at: int) -> None:
        found = self._kind(operand, at)
        if found not in ("any", kind):
            self._refuse(f"expected an attribute that is an {kind}, found one that is a {found}", at)

    def _message(self, kind: str) -> Predicate:
        campaign, is_last, window = "", False, Window()
        if not self._is(")"):
            if self._taken("last_campaign"):
                is_last = True
            elif not self._is("any") or self._peek(1).text not in (",", ")"):
                campaign = self._name("the name of a campaign, last_campaign or any")
            else:
                self._take()
            if self._taken(","):
                window = self._window()
        self._count_event()
        return Message(kind, campaign, is_last, window)  # type: ignore[arg-type]  # one of PREDICATES

    def _count_event(self) -> None:
        self._event_nodes += 1
        if self._event_nodes > MOST_EVENT_NODES:
            self._refuse(
                f"expected at most {MOST_EVENT_NODES} conditions on events, found more: each is a look through all "
                "events", self._peek().at,
            )  # fmt: skip

    # what is looked at

    def _comparison(self) -> Predicate:
        start = self._peek()
        each: Literal["", "any", "all", "none"] = ""
        if start.kind == "word" and start.text in ("any", "all", "none") and self._is("(", 1):
            each = start.text  # type: ignore[assignment]  # one of the three
            self._take()
            self._take()
            what = self._operand()
            self._expect(")")
            if not isinstance(what, Attribute | Selected) or (isinstance(what, Selected) and not what.path):
                self._refuse(f"expected an attribute or a property inside {each}( ), which may be an array", start.at)
        else:
            what = self._operand()
        kind = self._kind(what, start.at)
        return self._operator(what, kind, each, start)

    def _operand(self) -> Operand:
        token = self._peek()
        if token.kind == "quoted":
            return Attribute(self._path(token))
        if token.kind != "word":
            self._refuse(f"expected a condition, found {self._found(token)}", token.at)
        if self._event is not None:
            return Attribute(self._path(token))
        if token.text in ("count", "first", "last") and self._is("(", 1):
            self._take()
            self._expect("(")
            if token.text == "count":
                count = self._count(token)
                self._expect(")")
                return count
            return self._selected(token)
        if self._is("(", 1):
            self._refuse(
                f"expected {', '.join((*PREDICATES, *OPERANDS))}, found {token.text!r}"
                f"{_near(token.text, (*PREDICATES, *OPERANDS))}", token.at,
            )  # fmt: skip
        path = self._path(token)
        name = ".".join(path)
        if name == "bucket":
            return Bucket()
        if name in FIELDS or UTM_FIELD.fullmatch(name):
            return Field(name)
        if path[0] == "rfm" and len(path) == 2 and path[1] in ("r", "f", "m", "group"):
            return Rfm(path[1])  # type: ignore[arg-type]  # one of the four
        if path[0] in TAKEN:
            names = [*FIELDS, "rfm.r", "rfm.f", "rfm.m", "rfm.group", "utm.first.source", "utm.last.source", "bucket"]
            self._refuse(
                f"expected something that is known of persons, found {name!r}{_near(name, names)}; "
                f'an attribute of that name is written "{path[0]}"', token.at,
            )  # fmt: skip
        return Attribute(path)

    def _path(self, first: _Token) -> tuple[str, ...]:
        """Names with dots between; the first one is the next token."""
        path: list[str] = []
        while True:
            token = self._take()
            if token.kind not in ("word", "quoted") or not 0 < len(token.text) <= 200:
                self._refuse(f"expected a name of at most 200 characters, found {self._found(token)}", token.at)
            path.append(token.text)
            if not self._taken("."):
                break
        if len(path) > 8:
            self._refuse(f"expected at most 8 names with dots between, found {len(path)}", first.at)
        return tuple(path)

    def _kind(self, what: Operand, at: int) -> Kind:
        """Say what type something has; refuse a name that nobody has used."""
        match what:
            case Count() | Bucket():
                return "number"
            case Rfm():
                return "string" if what.part == "group" else "number"
            case Field():
                return FIELDS.get(what.name, "string")  # type: ignore[return-value]  # held by a test
            case Selected():
                return self._property_kind(what.event, what.path, at) if what.path else "time"
        if self._event is not None:
            return self._property_kind(self._event, what.path, at)
        return self._named(what.path, self._known.attributes, "an attribute", at)

    def _property_kind(self, event: str, path: Sequence[str], at: int) -> Kind:
        properties = self._known.properties
        names = None if properties is None or event in OWN_EVENTS else properties.get(event, {})
        return self._named(path, names, f"a property of {event!r}", at)

    def _named(self, path: Sequence[str], names: Mapping[str, str] | None, what: str, at: int) -> Kind:
        if names is None:
            return "any"
        dotted = ".".join(path)
        kind = names.get(dotted) or (names.get(path[0]) if len(path) == 1 else None)
        if kind is None:
            if path[0] not in names:
                near = names if self._event is not None else {*names, *FIELDS}
                self._refuse(f"expected {what}, found {dotted!r}{_near(dotted, near)}", at)
            # Within an object anything may be.
            if names[path[0]] not in ("object", "money"):
                self._refuse(f"expected {what} that is an object, found {path[0]!r}, a {names[path[0]]}", at)
            return "any"
        return kind if kind in get_args(Kind) else "any"  # type: ignore[return-value]  # just looked up

    def _count(self, name: _Token) -> Count:
        event, window, where = self._events()
        return Count(event, window, where)

    def _selected(self, which: _Token) -> Selected:
        event, window, where = self._events()
        self._expect(")")
        path = self._path(self._peek()) if self._taken(".") else ()
        return Selected(which.text, event, window, where, path)  # type: ignore[arg-type]  # first or last

    def _events(self) -> tuple[str, Window, Predicate | None]:
        """The inside of count( ), first( ), last( ) and did( ): event, window, condition."""
        at = self._peek().at
        event = self._name("the name of an event")
        if self._known.properties is not None:
            self._is_known(event, {*self._known.properties, *OWN_EVENTS}, "the name of an event", at)
        self._count_event()
        window = Window()
        where: Predicate | None = None
        if self._taken(","):
            has_window = self._peek().kind == "number" or self._is("between") or self._is("ever")
            if has_window:
                window = self._window()
            if not has_window or self._taken(","):
                self._event = event
                where = self._or()
                self._event = None
        return event, window, where

    def _window(self) -> Window:
        token = self._peek()
        if self._taken("ever"):
            return Window()
        if self._taken("between"):
            since = self._moment()
            self._expect("and")
            until = self._moment()
            begin, end = predicate.time_in(since.at), predicate.time_in(until.at)
            assert begin is not None and end is not None
            if begin >= end:
                self._refuse(f"expected an end after {since.at}, found {until.at}", token.at)
            return Window(since=since, until=until)
        found = self._duration()
        if not found.n:
            self._refuse("expected a window that is longer than nothing, found 0", token.at)
        return Window(rolling=found)

    # values

    def _operator(self, what: Operand, kind: Kind, each: Any, start: _Token) -> Predicate:
        token = self._take()
        op: str = token.text if token.kind in ("op", "word") else ""
        if op == "<>":
            op = "!="
        if op == "not" and (self._is("in") or self._is("exists")):
            op = f"not_{self._take().text}"
        if op == "within" and self._taken("next"):
            op = "within_next"
        if (
            op not in get_args(Op)
            or token.kind == "word"
            and op not in (*WORD_OPS, "not_in", "not_exists", "within_next")
        ):
            words = f"=, !=, <, <=, >, >=, not in, not exists, {', '.join(WORD_OPS)}"
            self._refuse(f"expected one of {words}, found {self._found(token)}{_near(token.text, WORD_OPS)}", token.at)
        checked: Op = op  # type: ignore[assignment]  # just looked up
        at = self._peek().at
        if checked in ("exists", "not_exists"):
            if each or isinstance(what, Count) or kind == "money" and isinstance(what, Field):
                self._refuse(f"expected something that may be missing before {token.text}", start.at)
            return Compare(what, checked)
        ci = self._taken("ci")
        if checked in ("in", "not_in"):
            among = self._values()
            for value in among:
                self._fits(what, kind, "=", value, each, at)
            compare = Compare(what, checked, among=among, ci=ci, each=each)
        else:
            value = self._value(checked)
            self._fits(what, kind, checked, value, each, at)
            compare = Compare(what, checked, value, ci=ci, each=each)
        if ci:
            texts = [compare.to, *compare.among] if checked not in ("in", "not_in") else list(compare.among)
            if checked in ORDERED or not all(isinstance(one, str) for one in texts):
                self._refuse("ci: expected a string that is compared as it is, without order", at)
        return compare

    def _values(self) -> tuple[Value, ...]:
        self._expect("(")
        values = [self._value("=")]
        while self._taken(","):
            values.append(self._value("="))
        if len(values) > MOST_VALUES:
            self._refuse(f"expected at most {MOST_VALUES} values, found {len(values)}: use a list", self._peek().at)
        self._expect(")")
        return tuple(values)

    def _value(self, op: Op) -> Value:
        token = self._peek()
        if op in ("before", "after"):
            return self._moment()
        if op in ("within", "within_next"):
            return self._duration()
        if token.kind in ("string", "quoted"):
            return self._take().text
        if token.kind == "moment":
            return self._moment()
        if token.kind == "number":
            return self._quantity()
        for word, value in (("true", True), ("false", False), ("null", None)):
            if self._taken(word):
                return value
        more = "; a string stands in 'quotes'" if token.kind == "word" else ""
        self._refuse(f"expected a value, found {self._found(token)}{more}", token.at)

    def _moment(self) -> Moment:
        token = self._take()
        if token.kind != "moment" or predicate.time_in(token.text) is None:
            self._refuse(
                "expected a date such as 2026-01-31, or a time such as 2026-01-31T18:00:00Z, found "
                f"{self._found(token)}", token.at,
            )  # fmt: skip
        return Moment(token.text)

    def _number(self, what: str) -> int | float:
        token = self._take()
        if token.kind != "number":
            self._refuse(f"expected {what}, found {self._found(token)}", token.at)
        value = int(token.text) if re.fullmatch("-?[0-9]+", token.text) and len(token.text) < 25 else float(token.text)
        if not math.isfinite(value) or abs(value) >= 1e18:
            self._refuse(f"expected a number below 10^18, found {token.text}", token.at)
        return value

    def _quantity(self) -> Value:
        """A number, or with a word behind it a duration or money."""
        word = self._peek(1)
        if word.kind == "word" and re.fullmatch("[A-Z]{3}", word.text):
            token = self._take()
            self._take()
            amount = token.text
            if not re.fullmatch(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,6})?", amount):
                self._refuse(f"expected an amount such as 12.50, found {amount}", token.at)
            return Money(amount, word.text)
        if word.kind == "word" and word.text not in KEYWORDS:
            return self._duration()
        return self._number("a number")

    def _duration(self) -> Duration:
        number = self._take()
        if number.kind != "number" or not re.fullmatch("[0-9]{1,12}", number.text):
            self._refuse(f"expected a duration such as 30d, found {self._found(number)}", number.at)
        unit = self._take()
        if unit.kind != "word" or unit.text not in UNIT_WORDS:
            hint = "; m may be minutes or months" if unit.text == "m" else ""
            self._refuse(f"expected s, min, h, d, w, mo or y, found {self._found(unit)}{hint}", unit.at)
        short = UNIT_WORDS[unit.text]
        if int(number.text) * SECONDS[short] > LONGEST_S:
            self._refuse(f"expected at most 100 years, found {number.text} {unit.text}", number.at)
        calendar = self._taken("calendar")
        if calendar and (short not in ("d", "w") or int(number.text) == 0):
            self._refuse("calendar: expected days or weeks, one at least: they are counted in midnights", unit.at)
        return Duration(int(number.text), short, calendar)

    def _fits(self, what: Operand, kind: Kind, op: Op, value: Value, each: str, at: int) -> None:
        """Refuse a value that can never be compared so with something of that type (EV-8)."""
        given = kind_of(value)
        if self._event is not None and given == "duration":
            self._refuse("expected a value that stays the same, found a duration: properties are of their time", at)
        wanted = VALUES_OF_OP[op]
        if given not in wanted:
            self._refuse(f"{op}: expected {_listed(wanted)}, found {_article(given)}", at)
        if op == "matches" and str(value).count("*") > MOST_WILDCARDS:
            self._refuse(f"matches: expected at most {MOST_WILDCARDS} *, found {str(value).count('*')}", at)
        if each:
            kind = (
                "any" if kind in ("any", "array") else self._refuse(f"{each}( ): expected an array, found a {kind}", at)
            )
        elif kind == "array" and op == "contains":
            return
        own = not isinstance(what, Attribute | Selected) or (isinstance(what, Selected) and not what.path)
        taken: Sequence[str] = (OWN_TAKES if own else TAKES)[kind]
        if given not in taken or (kind == "number" and given == "string" and predicate.number_in(str(value)) is None):
            self._refuse(
                f"expected {_listed(taken)} for something that is {_article(kind)}, found {_article(given)}", at
            )
        if isinstance(what, Rfm) and what.part == "group" and value not in GROUPS:
            self._refuse(f"expected one of {', '.join(GROUPS)}, found {value!r}{_near(str(value), GROUPS)}", at)


def kind_of(value: Value) -> str:
    """Name the type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return {Duration: "duration", Moment: "time", Money: "money"}[type(value)]


# Which types of value an operator takes.
VALUES_OF_OP: Mapping[Op, tuple[str, ...]] = {
    "=": ("string", "number", "bool", "null", "time", "money"),
    "!=": ("string", "number", "bool", "null", "time", "money"),
    **dict.fromkeys(ORDERED, ("string", "number", "time", "duration", "money")),
    "contains": ("string", "number", "bool"),
    "starts_with": ("string",),
    "matches": ("string",),
    "within": ("duration",),
    "within_next": ("duration",),
    "before": ("time",),
    "after": ("time",),
}
# Which types of value an attribute of a type is ever equal to: numbers and times may stand in strings.
TAKES: Mapping[str, tuple[str, ...]] = {
    "any": ("string", "number", "bool", "null", "time", "duration", "money"),
    "string": ("string", "number", "null", "time", "duration"),
    "number": ("number", "string", "null"),
    "bool": ("bool", "null"),
    "time": ("time", "duration", "string", "null"),
    "money": ("money", "null"),
    "object": ("money", "null"),
    "array": ("null",),
}
# What we keep ourselves is of one type, and never null.
OWN_TAKES: Mapping[str, tuple[str, ...]] = {
    "string": ("string",),
    "number": ("number",),
    "time": ("time", "duration"),
    "money": ("money",),
}


def _listed(kinds: Sequence[str]) -> str:
    return " or ".join(_article(one) for one in kinds)


def _article(kind: str) -> str:
    return kind if kind in ("null", "money") else f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _is_encodable(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


# -- writing -----------------------------------------------------------------------------------------------------------


def write(tree: Predicate) -> str:
    """Write a tree as text."""
    return _written(tree, 0)


def _written(tree: Predicate, binds: int) -> str:
    """binds: 0 loosely, as in brackets; 1 within and; 2 behind not."""
    match tree:
        case Or():
            text = " or ".join(_written(one, 2 if isinstance(one, Or) else 1) for one in tree.of)
            return f"({text})" if binds >= 1 else text
        case And():
            text = " and ".join(_written(one, 2) for one in tree.of)
            return f"({text})" if binds >= 2 else text
        case Not():
            return f"not {_written(tree.of, 2)}"
        case Everyone():
            return "everyone"
        case InList():
            return f"in_list({_string(tree.name)})"
        case InSegment():
            return f"in_segment({_string(tree.name)})"
        case Consent():
            return f"consent({tree.scope}{', ' + _string(tree.brand) if tree.brand else ''})"
        case Near():
            place = f"{_number_text(tree.lat)}, {_number_text(tree.lon)}, {_number_text(tree.km)} km"
            return f"near({place}{', ' + _path_text(tree.path) if tree.path != ('location',) else ''})"
        case Message():
            return _message_text(tree)
    return _comparison_text(tree)


def _message_text(tree: Message) -> str:
    campaign = "last_campaign" if tree.is_last else _string(tree.campaign) if tree.campaign else "any"
    window = _window_text(tree.window)
    if campaign == "any" and not window:
        return f"{tree.kind}()"
    return f"{tree.kind}({campaign}{', ' + window if window else ''})"


def _comparison_text(tree: Compare) -> str:
    what = _operand_text(tree.what)
    if tree.each:
        what = f"{tree.each}({what})"
    op = {"not_in": "not in", "not_exists": "not exists", "within_next": "within next"}.get(tree.op, tree.op)
    if tree.op in ("exists", "not_exists"):
        return f"{what} {op}"
    ci = " ci" if tree.ci else ""
    if tree.op in ("in", "not_in"):
        return f"{what} {op}{ci} ({', '.join(_value_text(one) for one in tree.among)})"
    return f"{what} {op}{ci} {_value_text(tree.to)}"


def _operand_text(what: Operand) -> str:
    match what:
        case Attribute():
            return _path_text(what.path)
        case Field():
            return what.name
        case Bucket():
            return "bucket"
        case Rfm():
            return f"rfm.{what.part}"
    parts = [_string(what.event) if not _BARE.match(what.event) else what.event]
    if window := _window_text(what.window):
        parts.append(window)
    if what.where is not None:
        parts.append(_written(what.where, 0))
    if isinstance(what, Count):
        return f"count({', '.join(parts)})"
    path = "." + ".".join(_name_text(one) for one in what.path) if what.path else ""
    return f"{what.which}({', '.join(parts)}){path}"


def _path_text(path: Sequence[str]) -> str:
    first = _quoted(path[0]) if path[0] in TAKEN else _name_text(path[0])
    return ".".join([first, *(_name_text(one) for one in path[1:])])


def _name_text(name: str) -> str:
    return name if _BARE.match(name) else _quoted(name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _string(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _window_text(window: Window) -> str:
    if window.rolling is not None:
        return _value_text(window.rolling)
    if window.since is not None and window.until is not None:
        return f"between {window.since.at} and {window.until.at}"
    return ""


def _value_text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int | float):
        return _number_text(value)
    if isinstance(value, Duration):
        return f"{value.n}{value.unit}{' calendar' if value.calendar else ''}"
    if isinstance(value, Money):
        return f"{value.amount} {value.currency}"
    return value.at


def _number_text(value: int | float) -> str:
    return repr(value)
