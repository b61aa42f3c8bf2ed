"""What `sluice consent` reads and shows: rows of a file as facts of consent, and the proof of one number.

    column            holds
    number            any way of writing one that has its country; the column may have any name that a phone number has
    action            grant or revoke; without the column every row is a revoke: a file of opt-outs
    brand, class      left out: those of the command line; a revoke without a class takes back every one
    at                when, with its offset from UTC: 2026-03-01T12:00:00+01:00; a revoke may have none
    wording, method, wording_version, url, ip, agent      as CN-1 has them; a grant needs the first two

Every row that cannot be taken is refused with its line and column, and the others go on (CN-2, CN-3).
Not here: what facts mean (campaign/consent.py), where they are kept (store/consents.py).
"""

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
from msgspec import Struct

from gateway.campaign.consent import asks_twice, merged, problems
from gateway.consent import Action, Class, Fact, Link, Standing, faults_of, reach_of
from gateway.contacts.numbers import Numbers
from gateway.contacts.reading import is_number_name
from gateway.contacts.table import Table
from gateway.dispatch.requests import pack_of
from gateway.errors import FileFault

COLUMNS = (
    "number", "action", "brand", "class", "at", "wording", "wording_version", "method", "url", "ip", "agent",
)  # fmt: skip
CLASSES = ("promotional", "transactional", "night")


class Refusal(Struct, frozen=True):
    """A row that is not taken: where, and what was expected."""

    line: int
    column: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"line {self.line}, {self.column}: expected {self.expected}, found {self.found}"


def time_of(text: str) -> datetime | None:
    """Read a time that says its offset from UTC; None: it is none, or says no offset."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo is not None else None


def facts_in(
    table: Table, read: Numbers, *, brand: str, class_: str, now: datetime, may_ask: bool = False
) -> tuple[list[Fact], list[Refusal], int]:
    """Read a file; -> facts, opt-outs first, what was refused, and rows that say again what another said.

    may_ask  grants of countries that want a double opt-in are taken: who asked for them makes requests of them
    raises  FileFault: it has no column `number`, or one that is none of ours; a bare list of numbers needs no header
    """
    fields = [name.strip().casefold() for name in table.fields]
    if not table.has_header and len(fields) == 1:
        fields = ["number"]
    called = [name for name in fields if is_number_name(name)]
    if len(called) == 1:
        fields[fields.index(called[0])] = "number"
    unknown = [name for name in fields if name not in COLUMNS]
    if "number" not in fields or unknown:
        found = f"{', '.join(unknown)}" if unknown else "no column number"
        raise FileFault("columns", f"expected columns of {', '.join(COLUMNS)}, found {found}")
    facts: dict[tuple[Any, ...], Fact] = {}
    refusals: list[Refusal] = []
    repeated = 0
    for block in table.blocks():
        refusals += [Refusal(row.line, "row", "a row of the table", f"{row.name}: {row.found}") for row in block.faults]
        columns = dict(zip(fields, block.columns, strict=True))
        for at, line in enumerate(block.lines):
            row = {name: column[at].strip() for name, column in columns.items()}
            fact, refusal = _fact(row, line, read, brand, class_, now, may_ask)
            if fact is not None and refusal is None:
                key = (fact.number, fact.brand, fact.class_, fact.action in ("grant",), fact.effective_at)
                known = facts.get(key)
                if known is None:
                    facts[key] = fact
                elif known == fact or fact.action == "revoke":
                    repeated += 1
                else:
                    refusal = Refusal(line, "at", "one grant at one time", "another one at the same time")
            if refusal is not None:
                refusals.append(refusal)
    # Opt-outs first: whatever stops this import, nobody is written to who has said no.
    ordered = sorted(facts.values(), key=lambda fact: fact.action != "revoke")
    return ordered, refusals, repeated


def _fact(
    row: Mapping[str, str], line: int, read: Numbers, brand: str, class_: str, now: datetime, may_ask: bool
) -> tuple[Fact | None, Refusal | None]:
    verdict = read.read(row["number"])
    if not verdict.number:
        return None, Refusal(line, "number", "a phone number with its country", f"{row['number']!r}: {verdict.fault}")
    action = row.get("action", "").casefold() or "revoke"
    if action not in ("grant", "revoke"):
        return None, Refusal(line, "action", "grant or revoke", repr(row["action"]))
    named = row.get("class", "").casefold() or (class_ if action == "grant" else "all")
    if named not in (*CLASSES, "all"):
        return None, Refusal(line, "class", f"one of {', '.join(CLASSES)}", repr(row["class"]))
    written = row.get("at", "")
    at = time_of(written)
    if written and at is None:
        return None, Refusal(line, "at", "a time with its offset, such as 2026-03-01T12:00:00+01:00", repr(written))
    if at is not None and at > now:
        return None, Refusal(line, "at", "a time that has been", repr(written))
    fact = Fact(
        number=verdict.number, brand=row.get("brand", "") or brand, class_=cast(Class, named),
        action=cast(Action, action), source="import", effective_at=at, recorded_at=now, method=row.get("method", ""),
        wording=row.get("wording", ""), wording_version=row.get("wording_version", ""), url=row.get("url", ""),
        ip=row.get("ip", ""), agent=row.get("agent", ""),
    )  # fmt: skip
    for field, expected, found in problems(fact):
        return None, Refusal(line, "at" if field == "effective_at" else field, expected, found)
    pack = pack_of(fact.number)
    if not may_ask and asks_twice(fact, pack.optin.double):
        expected = f"a double opt-in, as {pack.country} asks for: a method that says so, or --ask TEXT"
        return None, Refusal(line, "method", expected, repr(fact.method))
    return fact, None


def shown(number: int, states: Mapping[str, Standing], programmes: Iterable[str] = ()) -> list[str]:
    """How a number stands, a line for each brand; of programmes too of which nothing was said but by their brand."""
    if not states:
        return [f"+{number}: nothing is recorded"]
    lines = []
    by_brand = {name: merged(states, name) for name in programmes if reach_of(name)[0] in states} | dict(states)
    for brand, one in sorted(by_brand.items()):
        since = "" if one.since is None else f", since {one.since:%Y-%m-%d %H:%M:%S} UTC"
        lines.append(
            f"+{number} {'everything' if brand == '*' else brand}: promotional {one.promotional.name.lower()}{since}; "
            f"transactional {one.transactional.name.lower()}; night {one.night.name.lower()}"
        )
    return lines


def proof_of(
    number: int, links: Sequence[Link], head_id: int, head_hash: bytes, states: Mapping[str, Standing], now: datetime
) -> dict[str, Any]:
    """Everything that the ledger has of a number, with the verification of its chain (CN-13)."""
    faults = faults_of(links, head_id, head_hash)
    rows = []
    for link in links:
        fact = {name.rstrip("_"): getattr(link.fact, name) for name in Fact.__struct_fields__}
        fact["proof"] = None if link.fact.proof is None else link.fact.proof.hex()
        rows.append({"id": link.id, **fact, "previous": link.previous.hex(), "hash": link.hash.hex()})
    return {
        "number": f"+{number}",
        "made_at": now,
        "is_whole": not faults,
        "faults": faults,
        "head": {"id": head_id, "hash": head_hash.hex()},
        "states": {
            brand: {
                "promotional": one.promotional.name.lower(), "transactional": one.transactional.name.lower(),
                "night": one.night.name.lower(), "since": one.since,
            } for brand, one in sorted(states.items())
        },
        "rows": rows,
    }  # fmt: skip


def as_json(proof: Mapping[str, Any]) -> str:
    """The proof for programs; times in ISO 8601, octets as hexadecimal digits."""
    return json.dumps(msgspec.to_builtins(proof), indent=2, ensure_ascii=False)


def as_page(proof: Mapping[str, Any]) -> str:
    """The proof for people: one page of HTML that needs nothing else."""
    say = html.escape
    whole = "The chain is whole: no row was changed, taken out or exchanged since it was written."
    verdict = whole if proof["is_whole"] else "The chain is NOT whole: " + "; ".join(proof["faults"])
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f"<title>Consent of {say(proof['number'])}</title>",
        "<style>body{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
        "table{border-collapse:collapse;width:100%}"
        "td,th{border:1px solid #999;padding:.3em .5em;text-align:left;vertical-align:top}"
        "code{font-size:11px;overflow-wrap:anywhere}</style>",
        f"<h1>Consent of {say(proof['number'])}</h1><p>Made {proof['made_at']:%Y-%m-%d %H:%M:%S} UTC.</p>",
        f"<p><strong>{say(verdict)}</strong></p><h2>How it stands</h2><ul>",
    ]
    for brand, one in proof["states"].items():
        parts.append(
            f"<li>{say('everything' if brand == '*' else brand)}: promotional {one['promotional']}, "
            f"transactional {one['transactional']}, night {one['night']}"
        )
    parts.append("</ul><h2>What was recorded</h2><table><tr><th>Row<th>When<th>What<th>Where and how<th>Words<th>Hash")
    for row in proof["rows"]:
        at = "unknown" if row["effective_at"] is None else f"{row['effective_at']:%Y-%m-%d %H:%M:%S} UTC"
        where = "; ".join(
            f"{name} {row[key]}" for name, key in (
                ("by", "source"), ("method", "method"), ("page", "url"), ("address", "ip"), ("agent", "agent"),
                ("message", "message_id"), ("entry", "entry"),
            ) if row[key]
        )  # fmt: skip
        version = f" (version {row['wording_version']})" if row["wording_version"] else ""
        parts.append(
            f"<tr><td>{row['id']}<td>{at}<br><small>recorded {row['recorded_at']:%Y-%m-%d %H:%M:%S} UTC</small>"
            f"<td>{say(row['action'])} {say(row['class'])}<br>{say(row['brand'])}<td>{say(where)}"
            f"<td>{say(row['wording'] + version)}<td><code>{row['hash']}</code>"
        )
    parts.append(
        "</table><p><small>Each hash is SHA-256 over the row, its place and the hash before; the last one is "
        f"<code>{proof['head']['hash']}</code>.</small></p></html>"
    )
    return "\n".join(parts) + "\n"
