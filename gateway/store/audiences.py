"""Who of all people belongs to an audience: a tree becomes one statement, set-wise, its values are parameters.

    compare of an attribute      an expression over profile.attributes, typed as EV-8 has it
    count, first, last           one grouped sub-select of person_event, or a look by person where few are asked for
      of all time, no condition  event_total
    in_list, consent, rfm        a join by key
    time                         boundaries are computed here and are parameters: Postgres is never asked for the time

Every table is joined by bucket. An expression may be NULL where it is false: NULL is never true, and `not` is IS NOT
TRUE, so there are two answers as in campaign/evaluation.py, which all of it is held against.

`next_change` is the earliest instant at which a person may enter or leave by time alone (SG-4): until then nothing but
an event changes the answer. It may be early (the other half of an `and` says no anyway), never late.

Not here: what a tree may say (campaign/audience.py), who watches it (automation/ageing.py).
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeGuard, assert_never
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from gateway import predicate
from gateway.consent import reach_of
from gateway.predicate import (
    CAMPAIGN_PROPERTY,
    HUMAN,
    MESSAGE_EVENTS,
    NUMBER_FORM,
    SENT_EVENT,
    TIME_FORM,
    VERDICT_PROPERTY,
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
    Or,
    Predicate,
    Rfm,
    Selected,
    Value,
    Window,
)

GRANTED = 2
EARTH_KM = 6371.0088
# A calendar's midnights are named so far ahead; a change that is further away is looked for again then.
DAYS_AHEAD = 400
# Events kept in order to find when a count falls below its number; of a greater one every departure is looked at.
MOST_KEPT = 1000

COLUMNS = {
    "country": "p.country",
    "created": "p.created_at",
    "email": "p.email",
    "external_id": "p.external_id",
    "first_seen": "p.first_seen_at",
    "language": "p.language",
    "last_click": "p.last_click_at",
    "last_reply": "p.last_reply_at",
    "last_seen": "p.last_seen_at",
    "number": "('+' || p.number)",
    "orders": "p.orders",
    "orders.first": "p.first_order_at",
    "orders.last": "p.last_order_at",
    "sessions": "p.sessions",
    "zone": "p.zone",
}
_SQL_OPS = {"=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "before": "<", "after": ">="}
_HOLDS: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class Terms(Struct, frozen=True, kw_only=True):
    """What is the same for all people: the instant, the zone of calendar days, the salt of the random buckets."""

    now: datetime
    zone: ZoneInfo = ZoneInfo("UTC")
    salt: str = ""


class Compiled(Struct, frozen=True, kw_only=True):
    """The parts of a statement on `profile p`, with its parameters from $1 on.

    joins        what stands behind `profile p`
    condition    who belongs; NULL is no
    next_change  a timestamptz, NULL where time alone changes nothing
    """

    joins: str
    condition: str
    next_change: str
    parameters: list[Any]

    def select(self, what: str, more: str = "", of: str = "profile p") -> str:
        """Write the statement that gives `what` of those who belong. more: conditions on p; of: among whom, as p."""
        return f"SELECT {what} FROM {of}{self.joins} WHERE {more}({self.condition})"


def compile(
    tree: Predicate,
    terms: Terms,
    *,
    parameters: Sequence[Any] = (),
    buckets: tuple[int, int] | None = None,
    by_person: bool = False,
    with_changes: bool = False,
) -> Compiled:
    """Write a tree, whose other audiences are put in (campaign/audience.py: expand), as parts of a statement.

    parameters    those that the statement has already: ours stand behind them
    buckets       first and last, both included, for those who divide the work; None: all
    by_person     events are looked up person by person: for a few people, who are named by `more` or a rare condition
    with_changes  next_change is asked for: a little dearer
    """
    writer = _Writer(terms, list(parameters), buckets, by_person, with_changes)
    condition = writer.whole(tree)
    if buckets is not None:
        low, high = (writer.given(one, "int") for one in buckets)
        condition = f"p.bucket BETWEEN {low} AND {high} AND ({condition})"
    changes = ", ".join(writer.changes)
    return Compiled(
        joins="".join(writer.joins),
        condition=condition,
        next_change=f"least({changes})" if changes else "NULL::timestamptz",
        parameters=writer.parameters,
    )


def of_event(tree: Predicate, terms: Terms, parameters: Sequence[Any]) -> tuple[str, list[Any]]:
    """Write conditions on the properties of an event `v`; -> them, and all parameters. NULL is no."""
    writer = _Writer(terms, list(parameters), None, True, False)
    return writer.of_event(tree), writer.parameters


class _Writer:
    """One statement as it grows."""

    def __init__(
        self,
        terms: Terms,
        parameters: list[Any],
        buckets: tuple[int, int] | None,
        by_person: bool,
        with_changes: bool,
    ):
        self._terms = terms
        self.parameters = parameters
        self._buckets = buckets
        self._by_person = by_person
        self._with_changes = with_changes
        self.joins: list[str] = []
        self.changes: list[str] = []
        self._joined: dict[Any, str] = {}
        self._given: dict[tuple[str, str], str] = {}
        self._number = 0
        self._is_within_event = False

    # parameters

    def given(self, value: Any, kind: str) -> str:
        """Hand a value in as a parameter; -> what stands for it. The same value is handed in once."""
        key = (repr(value), kind)
        if key not in self._given:
            self.parameters.append(value)
            self._given[key] = f"${len(self.parameters)}::{kind}"
        return self._given[key]

    def _json(self, value: Any) -> str:
        return f"({self.given(msgspec.json.encode(value).decode(), 'text')})::jsonb"

    def _json_number(self, value: Decimal) -> str:
        return f"({self.given(format(value, 'f'), 'text')})::jsonb"

    def _amount(self, value: int | float) -> str:
        """Hand in a number; a whole one so that columns of whole numbers need no conversion."""
        whole = isinstance(value, int) or value.is_integer()
        return self.given(int(value), "bigint") if whole else self.given(_decimal(value), "numeric")

    def _alias(self, letter: str) -> str:
        self._number += 1
        return f"{letter}{self._number}"

    # conditions

    def of_event(self, tree: Predicate) -> str:
        """Write what is asked of the properties of v."""
        self._is_within_event = True
        found = self.condition(tree)
        self._is_within_event = False
        return f"({found})"

    def whole(self, tree: Predicate) -> str:
        """Write who belongs: what has to hold of everybody may be a semi-join, which all processes share."""
        if isinstance(tree, And):
            return "(" + " AND ".join(self.whole(one) for one in tree.of) + ")"
        is_any = (
            isinstance(tree, Compare)
            and isinstance(tree.what, Count)
            and (tree.op, tree.to) in ((">=", 1), (">", 0))
            and (tree.what.window != Window() or tree.what.where is not None)
        )
        if not is_any or self._with_changes:
            return self.condition(tree)
        # As IN and not as a sum that is joined: each process of a parallel plan would reckon that sum for itself.
        assert isinstance(tree, Compare) and isinstance(tree.what, Count)
        conditions = self._where(tree.what.event, tree.what.window, tree.what.where)
        return f"(p.bucket, p.id) IN (SELECT v.bucket, v.profile FROM person_event v WHERE {conditions})"

    def condition(self, tree: Predicate) -> str:
        """Write who belongs; NULL is no."""
        match tree:
            case Everyone():
                return "true"
            case And():
                return "(" + " AND ".join(self.condition(one) for one in tree.of) + ")"
            case Or():
                return "(" + " OR ".join(self.condition(one) for one in tree.of) + ")"
            case Not():
                return f"(({self.condition(tree.of)}) IS NOT TRUE)"
            case InList():
                return self._in_list(tree.name)
            case Consent():
                return self._consent(tree)
            case Message():
                return self._message(tree)
            case Near():
                return self._near(tree)
            case Compare():
                return self._compare(tree)
            case InSegment():
                raise ValueError(f"in_segment({tree.name!r}): expected its conditions in its place, found its name")
        assert_never(tree)

    def _join(self, key: Any, write: Callable[[str], str], letter: str) -> str:
        """Join something once, whoever asks for it; -> the name it goes by."""
        if key not in self._joined:
            alias = self._alias(letter)
            self.joins.append("\n" + write(alias))
            self._joined[key] = alias
        return self._joined[key]

    def _within(self, alias: str) -> str:
        """Say of what is joined that it is of the buckets asked for: Postgres does not conclude that from p's."""
        if self._buckets is None or self._by_person:
            return ""
        low, high = self._buckets
        return f" AND {alias}.bucket BETWEEN {self.given(low, 'int')} AND {self.given(high, 'int')}"

    def _in_list(self, name: str) -> str:
        alias = self._join(
            InList(name),
            lambda e: (
                f"LEFT JOIN list_entry {e} ON {e}.bucket = p.bucket AND {e}.number = p.number AND {e}.list = "
                f"(SELECT id FROM contact_list WHERE name = {self.given(name, 'text')}){self._within(e)}"
            ),
            "l",
        )
        return f"{alias}.number IS NOT NULL"

    def _consent(self, tree: Consent) -> str:
        return f"{nearest([self._words_of(name) for name in reach_of(tree.brand)], tree.scope)} = {GRANTED}"

    def _words_of(self, brand: str) -> str:
        return self._join(
            ("consent", brand),
            lambda c: (
                f"LEFT JOIN consent_state {c} ON {c}.bucket = p.bucket AND {c}.number = p.number "
                f"AND {c}.brand = {self.given(brand, 'text')}{self._within(c)}"
            ),
            "c",
        )

    def _near(self, tree: Near) -> str:
        place = self._path("p.attributes", tree.path)
        lat, lon = f"({place} -> 'lat')", f"({place} -> 'lon')"
        at_lat, at_lon = f"{lat}::float8", f"{lon}::float8"
        a, b = self.given(tree.lat, "float8"), self.given(tree.lon, "float8")
        half = (
            f"sin(radians({at_lat} - {a}) / 2) ^ 2 + cos(radians({a})) * cos(radians({at_lat})) "
            f"* sin(radians({at_lon} - {b}) / 2) ^ 2"
        )
        return (
            f"CASE WHEN jsonb_typeof({lat}) = 'number' AND jsonb_typeof({lon}) = 'number' THEN "
            f"CASE WHEN abs({lat}::numeric) <= 90 AND abs({lon}::numeric) <= 180 THEN "
            f"{2 * EARTH_KM} * asin(least(1.0, sqrt({half}))) <= {self.given(tree.km, 'float8')} END END"
        )

    # comparisons

    def _compare(self, tree: Compare) -> str:
        match tree.what:
            case Attribute():
                base = "v.properties" if self._is_within_event else "p.attributes"
                if tree.op in ("<", "<=", ">", ">=") and not tree.each and _is_number(tree.to):
                    return self._ordered(tree.op, tree.to, base, tree.what.path)
                return self._json_compare(tree, self._path(base, tree.what.path))
            case Field():
                return self._field(tree, tree.what.name)
            case Count():
                return self._count(tree, tree.what)
            case Selected():
                return self._selected(tree, tree.what)
            case Bucket():
                salted = f"{self.given(self._terms.salt, 'text')} || ':' || p.number"
                return self._plain(
                    tree, f"(('x' || substr(md5({salted}), 1, 8))::bit(32)::bigint % {predicate.RANDOM_BUCKETS})"
                )
            case Rfm():
                alias = self._join(
                    "rfm", lambda r: f"LEFT JOIN rfm {r} ON {r}.bucket = p.bucket AND {r}.profile = p.id", "r"
                )
                column = {"group": "named"}.get(tree.what.part, tree.what.part)
                return self._plain(tree, f"{alias}.{column}")
        assert_never(tree.what)

    def _path(self, base: str, path: Sequence[str]) -> str:
        return "(" + " -> ".join([base, *(self.given(name, "text") for name in path)]) + ")"

    def _field(self, tree: Compare, name: str) -> str:
        if name.startswith("utm."):
            _, which, key = name.split(".")
            return self._json_compare(tree, self._path(f"p.utm_{which}", (f"utm_{key}",)))
        if name in ("spent", "aov"):
            money = [tree.to] if tree.op not in ("in", "not_in") else list(tree.among)
            each = [
                self._spent(name, "=" if tree.op == "in" else "!=" if tree.op == "not_in" else tree.op, one)
                for one in money
            ]
            return "(" + (" OR " if tree.op == "in" else " AND ").join(each) + ")"
        return self._plain(tree, COLUMNS[name])

    def _spent(self, name: str, op: str, money: Value) -> str:
        assert isinstance(money, Money)
        units = f"(p.spent ->> {self.given(money.currency, 'text')})::numeric"
        amount = self.given(predicate.minor_units(money), "numeric")
        if name == "spent":
            return f"{units} {_SQL_OPS[op]} {amount}"
        is_one = "p.orders > 0 AND p.spent - ARRAY(SELECT min(k) FROM jsonb_object_keys(p.spent) AS k) = '{}'"
        return f"CASE WHEN {is_one} THEN {units} {_SQL_OPS[op]} {amount} * p.orders END"

    def _plain(self, tree: Compare, column: str) -> str:
        """Compare a column, or an expression of one type; NULL is missing."""
        if tree.op == "exists":
            return f"{column} IS NOT NULL"
        if tree.op == "not_exists":
            return f"{column} IS NULL"
        if tree.op in ("in", "not_in"):
            if (
                all(isinstance(one, str) for one in tree.among)
                and not tree.ci
                and not any(predicate.needs_composing(str(one)) for one in tree.among)
            ):
                values = self.given([str(one) for one in tree.among], "text[]")
                return f"{column} {'= ANY' if tree.op == 'in' else '<> ALL'} ({values})"
            op: Op = "=" if tree.op == "in" else "!="
            each = [self._plain_so(column, op, one, tree.ci) for one in tree.among]
            return "(" + (" OR " if op == "=" else " AND ").join(each) + ")"
        return self._plain_so(column, tree.op, tree.to, tree.ci)

    def _plain_so(self, column: str, op: Op, to: Value, ci: bool) -> str:
        if isinstance(to, str):
            return self._text_so(column, op, to, ci)
        if isinstance(to, int | float):
            return f"{column} {_SQL_OPS[op]} {self._amount(to)}"
        assert isinstance(to, Moment | Duration)
        return self._time_so(column, op, to)

    # values of JSON

    def _json_compare(self, tree: Compare, value: str) -> str:
        """Compare a value of JSON; SQL's NULL is missing."""
        if tree.op == "exists":
            return f"{value} IS NOT NULL"
        if tree.op == "not_exists":
            return f"{value} IS NULL"
        if not tree.each:
            return self._json_holds(tree, value)
        kept = len(self.changes)
        held = self._json_holds(tree, "x.v")
        # What is inside an array cannot be asked from outside it.
        changes, self.changes[kept:] = self.changes[kept:], []
        elements = f"jsonb_array_elements(CASE jsonb_typeof({value}) WHEN 'array' THEN {value} END) AS x (v)"
        for change in changes:
            self.changes.append(f"(SELECT min({change}) FROM {elements})")
        found = f"EXISTS (SELECT FROM {elements} WHERE {held})"
        if tree.each == "none":
            found = f"NOT {found}"
        elif tree.each == "all":
            found = f"NOT EXISTS (SELECT FROM {elements} WHERE ({held}) IS NOT TRUE)"
        return f"CASE jsonb_typeof({value}) WHEN 'array' THEN {found} END"

    def _ordered(self, op: Op, to: int | float, base: str, path: Sequence[str]) -> str:
        """Ask whether a number is less or more, as _json_so does, with one look into the object for most people."""
        steps = "".join(f".{msgspec.json.encode(name).decode()}" for name in path)
        # strict: an array is not asked for what is in it. A parameter of its type, or a plan kept for any value would
        # parse it for each person.
        asked = self.given(f"strict ${steps} {op} {_decimal(to):f}", "jsonpath")
        value = self._path(base, path)
        text = f"({value} #>> '{{}}')"
        return (
            f"CASE WHEN {base} @@ {asked} THEN true WHEN jsonb_typeof({value}) = 'string' THEN "
            f"CASE WHEN {text} ~ {self.given(NUMBER_FORM, 'text')} "
            f"THEN {text}::numeric {_SQL_OPS[op]} {self.given(_decimal(to), 'numeric')} END END"
        )

    def _json_holds(self, tree: Compare, value: str) -> str:
        if tree.op not in ("in", "not_in"):
            return self._json_so(value, tree.op, tree.to, tree.ci)
        if tree.op == "in" and not tree.ci and all(_is_simple(one) for one in tree.among):
            texts = [msgspec.json.encode(one).decode() for one in tree.among]
            return f"{value} = ANY ({self.given(texts, 'text[]')}::jsonb[])"
        each = [self._json_so(value, "=" if tree.op == "in" else "!=", one, tree.ci) for one in tree.among]
        return "(" + (" OR " if tree.op == "in" else " AND ").join(each) + ")"

    def _json_so(self, value: str, op: Op, to: Value, ci: bool) -> str:
        """Compare one value of JSON with one of an audience, by its type (EV-8)."""
        if to is None:
            return f"{value} {_SQL_OPS[op]} 'null'::jsonb"
        # What is neither of these types is a mismatch: no.
        if op == "=" and not ci and _is_simple(to):
            return f"{value} = {self._json(to)}"
        by_type: dict[str, str] = {"null": "true"} if op == "!=" else {}
        text = f"({value} #>> '{{}}')"
        match to:
            case str():
                by_type["string"] = self._text_so(text, op, to, ci)
                found = predicate.number_in(to)
                if found is not None and op in _HOLDS:
                    by_type["number"] = f"{value} {_SQL_OPS[op]} {self._json_number(found)}"
            case bool():
                by_type["boolean"] = f"{value} {_SQL_OPS[op]} {self._json(to)}" if op in ("=", "!=") else "false"
            case int() | float():
                if op in _HOLDS:
                    given = self.given(_decimal(to), "numeric")
                    # Among numbers JSON is compared as numeric is, without being taken out of its wrapping.
                    by_type["number"] = f"{value} {_SQL_OPS[op]} {self._json_number(_decimal(to))}"
                    by_type["string"] = (
                        f"CASE WHEN {text} ~ {self.given(NUMBER_FORM, 'text')} "
                        f"THEN {text}::numeric {_SQL_OPS[op]} {given} END"
                    )
            case Money():
                by_type["object"] = self._money_so(value, op, to)
            case _:
                by_type["string"] = self._json_time_so(text, op, to, value)
        if op == "contains":
            inside = self._json_so("x.v", "=", to, ci)
            by_type["array"] = f"EXISTS (SELECT FROM jsonb_array_elements({value}) AS x (v) WHERE {inside})"
        if set(by_type) == {"number"}:
            return f"CASE WHEN jsonb_typeof({value}) = 'number' THEN {by_type['number']} END"
        cases = " ".join(f"WHEN '{kind}' THEN {so}" for kind, so in by_type.items())
        return f"CASE jsonb_typeof({value}) {cases} END" if cases else "false"

    def _money_so(self, value: str, op: Op, to: Money) -> str:
        amount = f"({value} -> 'amount')"
        text = f"({amount} #>> '{{}}')"
        compared = f"{text}::numeric {_SQL_OPS[op]} {self.given(Decimal(to.amount), 'numeric')}"
        return (
            f"CASE WHEN {value} -> 'currency' = {self._json(to.currency)} THEN CASE jsonb_typeof({amount}) "
            f"WHEN 'number' THEN {compared} "
            f"WHEN 'string' THEN CASE WHEN {text} ~ {self.given(NUMBER_FORM, 'text')} THEN {compared} END END END"
        )

    def _json_time_so(self, text: str, op: Op, to: Moment | Duration, value: str) -> str:
        is_time = f"{text} ~ {self.given(TIME_FORM, 'text')}"
        at = f"(CASE length({text}) WHEN 10 THEN {text} || 'T00:00:00Z' ELSE {text} END)::timestamptz"
        kept = len(self.changes)
        so = self._time_so(at, op, to)
        for index in range(kept, len(self.changes)):
            self.changes[index] = (
                f"CASE jsonb_typeof({value}) WHEN 'string' THEN CASE WHEN {is_time} THEN {self.changes[index]} END END"
            )
        return f"CASE WHEN {is_time} THEN {so} END"

    def _text_so(self, text: str, op: Op, to: str, ci: bool) -> str:
        wanted = predicate.composed(to)
        if op not in ("=", "!=") or ci or predicate.needs_composing(wanted):
            text = f"(CASE octet_length({text}) WHEN length({text}) THEN {text} ELSE normalize({text}) END)"
        if ci:
            wanted = predicate.folded(wanted)
            letters, into = predicate.folds_to(wanted)
            text = f"translate({text}, {self.given(letters, 'text')}, {self.given(into, 'text')})"
        if op == "contains":
            return f'strpos({text} COLLATE "C", {self.given(wanted, "text")}) > 0'
        if op == "starts_with":
            return f'starts_with({text} COLLATE "C", {self.given(wanted, "text")})'
        if op == "matches":
            return f'{text} COLLATE "C" LIKE {self.given(_like(wanted), "text")}'
        return f'{text} COLLATE "C" {_SQL_OPS[op]} {self.given(wanted, "text")}'

    # time

    def _time_so(self, at: str, op: Op, to: Value) -> str:
        """Compare a timestamptz; when it may change its answer by time alone is noted."""
        if isinstance(to, Moment):
            return f"{at} {_SQL_OPS[op]} {self._instant(to)}"
        assert isinstance(to, Duration)
        if op == "within_next":
            self._leaves_window(at, to, is_ahead=True)
            self._changes_at(at)
            if to.calendar:
                end = predicate.midnights(self._terms.now, 0, to.days + 1, self._terms.zone)[-1] - timedelta(
                    microseconds=1
                )
            else:
                end = self._terms.now + timedelta(seconds=to.seconds)
            return f"({at} > {self._now()} AND {at} <= {self.given(end, 'timestamptz')})"
        self._leaves_window(at, to)
        edge = self.given(predicate.boundary(self._terms.now, to, self._terms.zone), "timestamptz")
        if op == "within":
            self._changes_at(at)
            return f"({at} > {edge} AND {at} <= {self._now()})"
        return f"{at} {'<=' if op in ('>', '>=') else '>'} {edge}"

    def _now(self) -> str:
        return self.given(self._terms.now, "timestamptz")

    def _instant(self, moment: Moment) -> str:
        found = predicate.time_in(moment.at)
        assert found is not None, moment.at
        return self.given(found, "timestamptz")

    def _changes_at(self, at: str) -> None:
        """Note an instant at which the answer may change, if it is still to come."""
        if self._with_changes:
            self.changes.append(f"CASE WHEN {at} > {self._now()} THEN {at} END")

    def _leaves_window(self, at: str, by: Duration, *, is_ahead: bool = False) -> None:
        if self._with_changes:
            self._changes_at(self._shifted(at, by, is_ahead))

    def _shifted(self, at: str, by: Duration, is_ahead: bool = False) -> str:
        """Say when something is so long ago, or with is_ahead when it will be so soon."""
        if not by.calendar:
            return f"({at} {'-' if is_ahead else '+'} make_interval(secs => {self.given(float(by.seconds), 'float8')}))"
        # The day of it by its place among the midnights; what is older than the first changed long ago.
        days = predicate.midnights(self._terms.now, by.days + 1, DAYS_AHEAD + by.days, self._terms.zone)
        given = self.given(days, "timestamptz[]")
        place = f"width_bucket({at}, {given})"
        moved = f"{place} {'-' if is_ahead else '+'} {by.days}"
        last = f"({given})[{len(days)}]"
        if is_ahead:
            # Beyond the last midnight it is looked for again before it can be near.
            horizon = self.given(days[by.days + 1 + DAYS_AHEAD], "timestamptz")
            return f"(CASE WHEN {at} >= {last} THEN {horizon} WHEN {moved} > 0 THEN ({given})[{moved}] END)"
        return f"(CASE WHEN {place} > 0 THEN coalesce(({given})[{moved}], {last}) END)"

    # events

    def _where(self, event: str, window: Window, where: Predicate | None) -> str:
        """Write which events of v count, those that are still to come among them where changes are asked for."""
        parts = [f"v.name = {self.given(event, 'text')}"]
        if self._buckets is not None and not self._by_person:
            low, high = self._buckets
            parts.append(f"v.bucket BETWEEN {self.given(low, 'int')} AND {self.given(high, 'int')}")
        if window.rolling is not None:
            edge = predicate.boundary(self._terms.now, window.rolling, self._terms.zone)
            parts.append(f"v.occurred_at > {self.given(edge, 'timestamptz')}")
            if not self._with_changes:
                parts.append(f"v.occurred_at <= {self._now()}")
        elif window.since is not None and window.until is not None:
            parts.append(f"v.occurred_at >= {self._instant(window.since)}")
            parts.append(f"v.occurred_at < {self._instant(window.until)}")
        if where is not None:
            parts.append(self.of_event(where))
        return " AND ".join(parts)

    def _grouped(
        self, alias: str, columns: str, conditions: str, having: str = "", source: str = "person_event v"
    ) -> str:
        """Join what is reckoned of a person's events: for all at once, or by looking at each person's."""
        having = f" HAVING {having}" if having else ""
        if self._by_person:
            return (
                f"LEFT JOIN LATERAL (SELECT {columns} FROM {source} WHERE v.bucket = p.bucket AND v.profile = p.id "
                f"AND {conditions}{having}) {alias} ON true"
            )
        return (
            f"LEFT JOIN (SELECT v.bucket, v.profile, {columns} FROM {source} WHERE {conditions} "
            f"GROUP BY v.bucket, v.profile{having}) {alias} ON {alias}.bucket = p.bucket AND {alias}.profile = p.id"
        )

    def _coming(self, window: Window) -> tuple[str, str]:
        """Write the filter of what has happened, and the first of what is to come."""
        if window.rolling is None or not self._with_changes:
            return "", ""
        now = self._now()
        return (
            f" FILTER (WHERE v.occurred_at <= {now})",
            f", min(v.occurred_at) FILTER (WHERE v.occurred_at > {now}) AS coming",
        )

    def _count(self, tree: Compare, what: Count) -> str:
        assert isinstance(tree.to, int | float)
        wanted, op = _decimal(tree.to), _SQL_OPS[tree.op]
        number = self._amount(tree.to)
        holds_of_none = _HOLDS[tree.op](Decimal(0), wanted)
        if what.window == Window() and what.where is None:
            column = f"{self._total(what.event)}.count"
        elif not self._with_changes and not holds_of_none:
            # Only those who have enough are joined at all.
            alias = self._join(
                (what, tree.op, tree.to),
                lambda e: self._grouped(
                    e, "count(*) AS n", self._where(what.event, what.window, what.where), f"count(*) {op} {number}"
                ),
                "e",
            )
            return f"{alias}.n IS NOT NULL"
        else:
            column = f"{self._counted(tree, what, wanted)}.n"
        return f"coalesce({column}, 0) {op} {number}" if holds_of_none else f"{column} {op} {number}"

    def _counted(self, tree: Compare, what: Count, wanted: Decimal) -> str:
        """Join a count, and note when the one leaves that makes the difference."""
        happened, coming = self._coming(what.window)
        rolling = what.window.rolling
        if not coming or rolling is None:
            return self._join(
                what, lambda e: self._grouped(e, "count(*) AS n", self._where(what.event, what.window, what.where)), "e"
            )
        # >= n and < n turn when the n-th from the newest leaves; = n at each departure, the oldest's first.
        place = {">=": wanted, "<": wanted, ">": wanted + 1, "<=": wanted + 1}.get(tree.op)
        if place is not None and place == place.to_integral_value() and 1 <= place <= MOST_KEPT:
            leaving = f"(array_agg(v.occurred_at ORDER BY v.occurred_at DESC){happened})[{int(place)}]"
        else:
            leaving = f"min(v.occurred_at){happened}"
        alias = self._join(
            (what, leaving),
            lambda e: self._grouped(
                e,
                f"count(*){happened} AS n{coming}, {leaving} AS leaving",
                self._where(what.event, what.window, what.where),
            ),
            "e",
        )
        self._leaves_window(f"{alias}.leaving", rolling)
        self._changes_at(f"{alias}.coming")
        return alias

    def _total(self, event: str) -> str:
        return self._join(
            ("total", event),
            lambda t: (
                f"LEFT JOIN event_total {t} ON {t}.bucket = p.bucket AND {t}.profile = p.id "
                f"AND {t}.name = {self.given(event, 'text')}{self._within(t)}"
            ),
            "t",
        )

    def _selected(self, tree: Compare, what: Selected) -> str:
        """Compare the time or a property of the first or last event."""
        if what.window == Window() and what.where is None and not what.path:
            return self._plain(tree, f"{self._total(what.event)}.{what.which}_at")
        newest = what.which == "last"
        happened, coming = self._coming(what.window)
        order = "DESC" if newest else "ASC"
        chosen = f"(array_agg(v.occurred_at ORDER BY v.occurred_at {order}, v.id {order}){happened})[1] AS at"
        if what.path:
            chosen += (
                f", (array_agg(v.properties ORDER BY v.occurred_at {order}, v.id {order}){happened})[1] AS properties"
            )
        alias = self._join(
            ("selected", what.which, what.event, what.window, what.where, bool(what.path)),
            lambda e: self._grouped(e, f"{chosen}{coming}", self._where(what.event, what.window, what.where)),
            "e",
        )
        if coming and what.window.rolling is not None:
            self._leaves_window(f"{alias}.at", what.window.rolling)
            self._changes_at(f"{alias}.coming")
        if not what.path:
            return self._plain(tree, f"{alias}.at")
        return self._json_compare(tree, self._path(f"{alias}.properties", what.path))

    def _message(self, tree: Message) -> str:
        """Ask whether a message of ours came to something."""
        source = "person_event v"
        conditions = self._where(MESSAGE_EVENTS[tree.kind], tree.window, None)
        if tree.kind == "clicked":
            conditions += f" AND v.properties ->> '{VERDICT_PROPERTY}' = '{HUMAN}'"
        happened, coming = self._coming(tree.window)
        if tree.is_last:
            conditions += f" AND jsonb_typeof(v.properties -> '{CAMPAIGN_PROPERTY}') = 'string'"
            source, is_last = self._of_last_campaign()
            conditions += f" AND {is_last}"
        elif tree.campaign:
            conditions += f" AND v.properties -> '{CAMPAIGN_PROPERTY}' = {self._json(tree.campaign)}"
        alias = self._join(
            tree,
            lambda e: self._grouped(e, f"max(v.occurred_at){happened} AS newest{coming}", conditions, source=source),
            "e",
        )
        if coming and tree.window.rolling is not None:
            self._leaves_window(f"{alias}.newest", tree.window.rolling)
            self._changes_at(f"{alias}.coming")
        return f"{alias}.newest IS NOT NULL"

    def _of_last_campaign(self) -> tuple[str, str]:
        """Ask of event v whether it is of the campaign that its person was sent last; -> source, condition."""
        sent = self.given(SENT_EVENT, "text")
        campaign = f"s.properties -> '{CAMPAIGN_PROPERTY}'"
        if self._by_person:
            return "person_event v", (
                f"v.properties -> '{CAMPAIGN_PROPERTY}' = (SELECT {campaign} FROM person_event s "
                f"WHERE s.bucket = v.bucket "
                f"AND s.profile = v.profile AND s.name = {sent} ORDER BY s.occurred_at DESC, s.id DESC LIMIT 1)"
            )
        newest = f"(array_agg({campaign} ORDER BY s.occurred_at DESC, s.id DESC))[1] AS campaign"
        last = f"SELECT s.bucket, s.profile, {newest} FROM person_event s WHERE s.name = {sent} GROUP BY 1, 2"
        return (
            f"person_event v JOIN ({last}) sent ON sent.bucket = v.bucket AND sent.profile = v.profile",
            f"v.properties -> '{CAMPAIGN_PROPERTY}' = sent.campaign",
        )


def nearest(aliases: Sequence[str], column: str) -> str:
    """Write a column of consent, of those who have a row the narrowest: aliases of joins, the widest first (CN-7)."""
    own = "".join(f"WHEN {alias}.number IS NOT NULL THEN {alias}.{column} " for alias in reversed(aliases[1:]))
    return f"(CASE {own}ELSE {aliases[0]}.{column} END)" if own else f"{aliases[0]}.{column}"


def _decimal(value: int | float) -> Decimal:
    return Decimal(repr(value))


def _is_number(value: Value) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_simple(value: Value) -> bool:
    """Whether a value of JSON equals it only by being the same: no number in a string, no other spelling of letters."""
    if isinstance(value, str):
        return predicate.number_in(value) is None and not predicate.needs_composing(value)
    return isinstance(value, bool)


def _like(pattern: str) -> str:
    """Write * and ? as LIKE has them."""
    for letter in "\\%_":
        pattern = pattern.replace(letter, "\\" + letter)
    return pattern.replace("*", "%").replace("?", "_")
