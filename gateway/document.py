"""What a campaign, or a workflow, is when it is written down: the tables of a TOML file, or the objects of a JSON one.

    name = "cart-abandoned"          the six parts of a campaign: message, trigger, wait, filter, hours, goal
    brand = "acme"
    filter = "country = 'DE'"
    wait = "30m"
    message = {text = "Acme: {{ event.count }} things wait in your cart."}

    [trigger]
    on = "event"
    event = "cart_updated"
    where = "total > 50"
    key = "cart_id"

    [[goals]]
    event = "order_placed"
    within = "3d"

    [[exceptions]]
    event = "order_placed"
    key = "cart_id"

A workflow has `[[steps]]` in place of wait and message; each goes on to the next one unless it says to which. A
campaign is a workflow of at most two steps, and nothing below this room knows of a difference.
Not here: what the words of conditions mean (campaign/audience.py), whether the whole makes sense
(campaign/workflow.py).
"""

import difflib
import functools
import re
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, get_args

import msgspec
import msgspec.inspect
from msgspec import Meta, Struct

from gateway.brand import Word
from gateway.content import Content
from gateway.experiment import Experiment
from gateway.gate import Cap, ClassName
from gateway.goal import MOST_GOALS, Goal, read_goals
from gateway.happening import Condition, EventName, Happening, Key
from gateway.link import Link
from gateway.product import Kind as Recommended
from gateway.routing import Problem
from gateway.template import Language, Shop

Span: TypeAlias = Annotated[str, Meta(pattern=r"^\d{1,6}(s|m|min|h|d|w)$")]
Rate: TypeAlias = Annotated[str, Meta(max_length=40)]
Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=10_000)]
Staff: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
STAFF = "staff"
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
# Steps of a workflow, and what is beside them: nobody writes more, and each is looked at for everybody who is due.
MOST_STEPS = 200
MAX_AGE = "72h"


def seconds_of(span: str) -> int:
    """Read a length of time such as 90s, 30m, 50h, 7d, 2w."""
    found = re.fullmatch(r"(\d+)([a-z]+)", span)
    assert found is not None, span
    return int(found[1]) * _SECONDS[found[2]]


# -- what begins it ----------------------------------------------------------------------------------------------------


class OnEvent(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="on", tag="event"
):
    """An event happened; max_age: not if it is told later than that (EV-3). key: of one enrolment a cart, an order."""

    event: EventName
    where: Condition = ""
    url: str = ""
    key: Key = ""
    max_age: Span = MAX_AGE


class OnSequence(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="on", tag="sequence"
):
    """An event happened, and within a time another one did not: fires at the end of it, not before (TR-8)."""

    event: EventName
    where: Condition = ""
    unless: Happening
    within: Span
    key: Key = ""
    max_age: Span = MAX_AGE


class OnAudience(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="on", tag="audience"
):
    """Somebody entered or left an audience that is kept by name, and is watched from then on."""

    audience: Word
    change: Literal["entered", "left"] = "entered"
    max_age: Span = MAX_AGE


class OnList(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="on", tag="list"
):
    """Somebody came onto a static list, or the answer of a source (SG-11), or left it."""

    list: Annotated[str, Meta(min_length=1, max_length=200)]
    change: Literal["entered", "left"] = "entered"
    max_age: Span = MAX_AGE


class OnMessage(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="on", tag="message"
):
    """A message of another campaign came to something, or within a time to nothing of it (S3.6, S3.7)."""

    campaign: Word
    outcome: Literal["delivered", "clicked", "replied", "failed", "nothing"]
    within: Span = "3d"
    max_age: Span = MAX_AGE


class OnKeyword(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="on", tag="keyword"
):
    """A handset wrote one of these words to one of the brand's senders."""

    words: Annotated[tuple[str, ...], Meta(min_length=1, max_length=50)]
    max_age: Span = MAX_AGE


class OnPlace(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="on", tag="place"
):
    """An event of a person's location lies within a circle of kilometres, or a polygon of (lat, lon)."""

    event: EventName = "location"
    lat: Annotated[float, Meta(ge=-90, le=90)] = 0.0
    lon: Annotated[float, Meta(ge=-180, le=180)] = 0.0
    km: Annotated[float, Meta(ge=0, le=20_100)] = 0.0
    polygon: tuple[tuple[float, float], ...] = ()
    max_age: Span = "1h"


class OnCall(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="on", tag="call"
):
    """A program, another workflow or `sluice campaign enter` says so."""

    key: Key = ""
    max_age: Span = MAX_AGE


class OnDate(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="on", tag="date"
):
    """A date that an attribute holds comes, so long before or after it; date: words of gateway/delay.py."""

    date: dict[str, Any]


class OnSchedule(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="on", tag="schedule"
):
    """The calendar says so, once or again and again: everybody who matches the filter then."""

    schedule: dict[str, Any]


class OnInactivity(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="on", tag="inactivity"
):
    """Nothing was bought for so many days; looked at once a day, and once for each silence (TR-6).

    backlog  of whom it is true when this begins: nobody, those of the last so many days, everybody
    """

    days: Annotated[int, Meta(ge=1, le=3650)]
    at: Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "10:00"
    clock: Literal["workspace", "recipient"] = "workspace"
    backlog: Annotated[str, Meta(pattern=r"^(none|all|\d{1,4}d)$")] = "none"
    max_lateness: Span = "24h"


Trigger: TypeAlias = (
    OnEvent
    | OnSequence
    | OnAudience
    | OnList
    | OnMessage
    | OnKeyword
    | OnPlace
    | OnCall
    | OnDate
    | OnSchedule
    | OnInactivity
)

# -- who may enter, and how often --------------------------------------------------------------------------------------


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How often the same person, and how many at a time (TR-4, TR-5).

    again      every cause; once for life; once in a period; once for each value of the trigger's key
    period     for again = "period", counted from the enrolment
    running    while one is under way: single ignores another cause, restart cancels the old one, per_key has one for
               each value of the key, parallel as many as `most`; "" = per_key where the trigger has a key, else single
    """

    again: Literal["", "every", "once", "period", "per_key"] = ""
    period: Span = "30d"
    running: Literal["", "single", "restart", "per_key", "parallel"] = ""
    most: Annotated[int, Meta(ge=1, le=1000)] = 1


# -- what happens ------------------------------------------------------------------------------------------------------


class Message(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A text, its languages beside the one it was written in, whose codes it carries, and what it recommends.

    to, staff, content, variants, clicks, click_share  as a step that sends has them
    """

    text: Text
    languages: dict[Language, Text] = {}
    coupon: str = ""
    recommend: Recommended | Literal[""] = ""
    to: Literal["person", "staff"] = "person"
    staff: tuple[Staff, ...] = ()
    content: Content | None = None
    variants: dict[Word, Text] = {}
    clicks: Rate = ""
    click_share: Rate = ""


class Named(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="do"):
    """A step: its name, for others to go to, and where it goes on to; "" = to the step behind it."""

    name: str = ""
    next: str = ""


class Send(Named, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="send"):
    """Send a text.

    class_       "" = that of the document
    goes_on      as soon as it is handed on, submitted or delivered (WF-3); if not within a day: otherwise
    expires      not sent later than that after it was due (TH-6)
    coupon       the pool whose codes are coupon.code and coupon.url; where it is empty the text waits (TP-5)
    recommend    what is product.name, product.url and product.price for each: docs/products.md; none, no text
    exceptions   beside those of the document, for this step alone (EX-4)
    to           "staff": to people of ours, and the text tells of the person (S1.6)
    staff        whom of them: names of the brand's lists, or numbers of theirs; () = all of the brand's
    content      what it offers, by a key that mails and pushes of the same carry, too: whoever had it there lately is
                 skipped, or gets the text of `variants` that it names (XC-2)
    clicks       that come at most to the site which the text leads to: 200/m; texts go at that rate by the share of
                 them that is opened, at first click_share: 8% (TH-4)
    """

    text: Text
    languages: dict[Language, Text] = {}
    class_: Literal["", "otp", "conversation", "transactional", "triggered", "bulk"] = msgspec.field(
        name="class", default=""
    )
    sender: str = ""
    tags: tuple[str, ...] = ()
    goes_on: Literal["attempted", "submitted", "delivered"] = "attempted"
    otherwise: str = ""
    expires: Span | None = None
    coupon: str = ""
    recommend: Recommended | Literal[""] = ""
    exceptions: tuple[Happening, ...] = ()
    to: Literal["person", "staff"] = "person"
    staff: tuple[Staff, ...] = ()
    content: Content | None = None
    variants: dict[Word, Text] = {}
    clicks: Rate = ""
    click_share: Rate = ""


class Wait(Named, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="wait"):
    """Wait so long, or until then: words of gateway/delay.py, such as "30m" or {at = {days = 3, time = "10:00"}}."""

    for_: Any = msgspec.field(name="for")


class WaitFor(Named, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="wait_for"):
    """Wait until something happens, or so long since the step was reached; what happened meanwhile counts (WF-6)."""

    event: EventName
    where: Condition = ""
    key: Key = ""
    url: str = ""
    within: Span
    then: str = ""
    otherwise: str = ""


class Case(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A way a branch goes."""

    if_: Condition = msgspec.field(name="if")
    then: str


class Branch(Named, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="branch"):
    """Ask of the person as of now, in this order: the first that holds wins (WF-4)."""

    cases: Annotated[tuple[Case, ...], Meta(min_length=1, max_length=50)]
    otherwise: str


class Share(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A way of a split, and how often it is taken beside the others."""

    weight: Annotated[int, Meta(ge=0, le=10_000)]
    then: str


class Split(Named, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="split"):
    """Go one of some ways by chance, the same number always the same one (WF-5)."""

    ways: Annotated[tuple[Share, ...], Meta(min_length=2, max_length=50)]


class SetAttribute(
    Named, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="set_attribute"
):
    """Say something of the person; value null takes it away."""

    attribute: Annotated[str, Meta(min_length=1, max_length=200)]
    value: str | int | float | bool | None = None


class ListAdd(Named, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="list_add"):
    """Put the person's number onto a static list."""

    list: Annotated[str, Meta(min_length=1, max_length=200)]


class ListRemove(Named, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="list_remove"):
    """Take the person's number off a static list."""

    list: Annotated[str, Meta(min_length=1, max_length=200)]


class Unsubscribe(Named, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="unsubscribe"):
    """Write no more to the number, as the end of a silence (S0.35) and not as its own word."""

    source: Literal["sunset", "manual"] = "sunset"


class Subscribe(Named, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="subscribe"):
    """Write down a consent that the person has given: their own yes to a question of this workflow is its proof (CN-2).

    answer   the step that asks, a question of type yes_no; who has not said yes to it goes to `otherwise`
    consent  to what
    """

    answer: Word
    consent: Literal["promotional", "transactional", "night"] = "promotional"
    otherwise: str = ""


class IssueCoupon(Named, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="issue_coupon"):
    """Reserve a code of a pool for the person; all texts behind it have it as coupon.code. Empty: it is waited for."""

    pool: Word


class Webhook(Named, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="webhook"):
    """Tell another system, signed, and once; where that fails for good: on_fail (WF-10)."""

    url: Annotated[str, Meta(pattern=r"^https?://", max_length=2000)]
    on_fail: str = ""


class CreateConversation(
    Named, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="create_conversation"
):
    """Open a conversation for people to see to, in the first inbox of the brand; note: what they are told."""

    note: str = ""


class Ask(Named, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="ask"):
    """Send a question and wait for its answer (IN-9); question: words of gateway/question.py.

    class_  "" = that of the document; conversation: to who has written within a day, such as after an order (S4.30)
    """

    text: Text
    question: dict[str, Any]
    class_: Literal["", "conversation", "transactional", "triggered", "bulk"] = msgspec.field(name="class", default="")
    attribute: str = ""
    within: Span = "24h"
    then: str = ""
    otherwise: str = ""


class GoalCheck(Named, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="goal_check"):
    """Go one way where the primary goal is met since the cause, and the other where not."""

    then: str = ""
    otherwise: str = ""


class EnterWorkflow(
    Named, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="enter_workflow"
):
    """Have the person enter another workflow, whose trigger is a call."""

    workflow: Word


class Exit(Named, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="exit"):
    """Leave."""


Step: TypeAlias = (
    Send | Wait | WaitFor | Branch | Split | SetAttribute | ListAdd | ListRemove | Subscribe | Unsubscribe
    | IssueCoupon | Webhook | CreateConversation | Ask | GoalCheck | EnterWorkflow | Exit
)  # fmt: skip


def is_to_staff(step: Step) -> bool:
    """Whether a step writes to people of ours, not to the person."""
    return isinstance(step, Send) and step.to == STAFF


class Except(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What must not have happened since the cause when a text is sent (EX-1).

    scope  step: that text is not sent; workflow: the person leaves; tag: they leave whatever has the tag (EX-4)
    tag    one of this document's own, of such a scope
    """

    event: EventName
    where: Condition = ""
    key: Key = ""
    url: str = ""
    scope: Literal["step", "workflow", "tag"] = "workflow"
    tag: str = ""

    @property
    def happening(self) -> Happening:
        """Of what it tells."""
        return Happening(event=self.event, where=self.where, key=self.key, url=self.url)


class Document(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A campaign or a workflow.

    goals      what it is for (GL-1); who has met the first one leaves, and who has met it since the cause does not
               enter, unless it says exits = false (GL-7)
    aim        why there is no goal, where there is none on purpose (S3.17)
    filter     whom it is for; asked at the entry, when a text is due, and at the gate
    hours      windows of this campaign beside those of the brand: words of docs/quiet-hours.md
    starts_at, ends_at  nobody enters before the one, or from the other on; at_end: what waits then (TR-9)
    paused_entries  whoever is brought to it while it is paused is not in it, or goes on with it (WF-9)
    tags       of its messages, for caps; and of exceptions that several have in common
    experiment which of several texts somebody gets, and who gets none (AB-1, AB-2); of a campaign, that has one text
    links      by name, where link.NAME of a text leads
    defaults, fallback, shops  of its texts, as gateway/template.py has them
    """

    name: Word
    kind: Literal["campaign", "workflow"] = "campaign"
    about: str = ""
    brand: Word
    programme: str = ""
    class_: Literal["otp", "conversation", "transactional", "triggered", "bulk"] = msgspec.field(
        name="class", default="triggered"
    )
    sender: str = ""
    trigger: Trigger
    entry: Entry = Entry()
    filter: Condition = ""
    wait: Any = None
    message: Message | None = None
    steps: Annotated[tuple[Step, ...], Meta(max_length=MOST_STEPS)] = ()
    hours: Any = None
    caps: tuple[Cap, ...] = ()
    exceptions: tuple[Except, ...] = ()
    goals: Annotated[tuple[Goal, ...], Meta(max_length=MOST_GOALS)] = ()
    aim: str = ""
    starts_at: str = ""
    ends_at: str = ""
    at_end: Literal["cancel_pending", "drain"] = "cancel_pending"
    paused_entries: Literal["drop", "queue"] = "drop"
    priority: Annotated[int, Meta(ge=-127, le=127)] = 0
    value: Annotated[int, Meta(ge=0, le=255)] = 0
    expires: Span = "24h"
    policy: Literal["once", "at_least_once", "ask"] = "once"
    tags: tuple[str, ...] = ()
    experiment: Experiment | None = None
    links: dict[Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,39}$")], Link] = {}
    defaults: dict[str, str] = {}
    fallback: Annotated[tuple[Language, ...], Meta(max_length=20)] = ()
    shops: Annotated[tuple[Shop, ...], Meta(max_length=5000)] = ()


def again_of(document: Document) -> str:
    """Say how often the same person enters: every, once, period, or per_key (TR-4)."""
    return document.entry.again or ("once" if isinstance(document.trigger, OnAudience | OnList) else "every")


PARTS: Mapping[str, Any] = {"trigger": Trigger, "entry": Entry, "message": Message}
ITEMS: Mapping[str, Any] = {"steps": Step, "exceptions": Except, "caps": Cap}
CLASSES = get_args(ClassName)


def read(octets: bytes, *, is_json: bool = False) -> tuple[Document | None, list[Problem]]:
    """Read a document; -> it, or everything that is wrong with its form, each with its place.

    A part that is wrong does not hide the others: each is read by itself.
    """
    try:
        value = msgspec.json.decode(octets) if is_json else tomllib.loads(octets.decode())
    except UnicodeDecodeError as error:
        return None, [("", "UTF-8", f"octet {error.object[error.start]:#04x} at {error.start}")]
    except (msgspec.DecodeError, tomllib.TOMLDecodeError) as error:
        return None, [("", "JSON" if is_json else "TOML", str(error))]
    return of(value)


def of(value: Any) -> tuple[Document | None, list[Problem]]:
    """Make a document of tables, as `read` does."""
    if not isinstance(value, dict):
        return None, [("", "a table", type(value).__name__)]
    value = dict(value)
    problems: list[Problem] = []
    for key, kind in PARTS.items():
        if key in value and _wrong(value[key], kind, key, problems):
            del value[key]
    for key, kind in ITEMS.items():
        if key in value and isinstance(value[key], list):
            value[key] = [one for at, one in enumerate(value[key]) if not _wrong(one, kind, f"{key}[{at}]", problems)]
    if isinstance(value.get("goals"), list):
        before = len(problems)
        read_goals(value["goals"], "goals", problems)
        if len(problems) > before:
            del value["goals"]
    left = dict(value)
    if problems and "trigger" not in left:
        left["trigger"] = {"on": "call"}
    while True:
        try:
            found = msgspec.convert(left, Document)
            return (found if not problems else None), problems
        except msgspec.ValidationError as error:
            problem = _problem(error, "")
            problems.append(problem)
            head = re.match(r"[^.\[]+", problem[0])
            if head is None or head[0] not in left:
                return None, problems
            # The rest is judged without it, unless it has to be there.
            del left[head[0]]
            if head[0] in ("name", "brand"):
                left[head[0]] = "x"


def _wrong(value: Any, kind: Any, key: str, problems: list[Problem]) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        problems.append(_problem(error, key))
        return True
    return False


_PLACE = re.compile(r"(?s)(.*?)(?: - at `(?:key in )?\$(.*)`)?\Z")


def _problem(error: msgspec.ValidationError, key: str) -> Problem:
    """Take a message of msgspec apart: where, what was expected, what was found."""
    found = _PLACE.match(str(error))
    assert found is not None
    where = (key + (found[2] or "")).lstrip(".")
    said = found[1]
    if match := re.fullmatch(r"Expected (.*), got (.*)", said, re.S):
        return where, match[1], match[2]
    if match := re.fullmatch(r"Object missing required field `(.*)`", said):
        return f"{where}.{match[1]}".lstrip("."), "a value", "nothing"
    if match := re.fullmatch(r"Object contains unknown field `(.*)`", said):
        return f"{where}.{match[1]}".lstrip("."), _meant(match[1], where == ""), repr(match[1])
    if match := re.fullmatch(r"Invalid value (.*)", said, re.S):
        return where, "a word that is known here", match[1]
    return where, "another value", said


def _meant(name: str, is_top: bool) -> str:
    """Say which names there are, or those that may have been meant: msgspec does not tell which part it is."""
    close = difflib.get_close_matches(name, Document.__struct_encode_fields__ if is_top else _names(), 3)
    if close:
        return f"a name that this part has ({' or '.join(close)}?)"
    return f"one of {', '.join(Document.__struct_encode_fields__)}" if is_top else "a name that this part has"


@functools.cache
def _names() -> tuple[str, ...]:
    """Name every key that any part of a document has."""
    found: dict[str, None] = {}
    seen: set[int] = set()
    ahead: list[Any] = [msgspec.inspect.type_info(Document)]
    while ahead:
        one = ahead.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, msgspec.inspect.StructType):
            found |= dict.fromkeys(field.encode_name for field in one.fields)
            ahead += [field.type for field in one.fields]
        elif isinstance(one, msgspec.inspect.UnionType):
            ahead += one.types
        else:
            ahead += [
                part for name in ("item_type", "item_types", "value_type", "type")
                for part in _some(getattr(one, name, ()))
            ]  # fmt: skip
    return tuple(sorted(found))


def _some(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def encode(document: Document) -> bytes:
    """Write a document as JSON, the same for the same."""
    return _ENCODER.encode(document)


def decode(octets: bytes | str) -> Document:
    """Read what `encode` wrote. raises msgspec.ValidationError."""
    return msgspec.json.decode(octets, type=Document)


_ENCODER = msgspec.json.Encoder(order="deterministic")
