"""`sluice explain`: why one number got a message of a campaign or did not, and what the gate would say of it now."""

import difflib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from _fastpath.peoplerows import bucket
from gateway import app, reasons
from gateway.campaign.admission import caps_of, moment_of
from gateway.campaign.quiet_hours import versions
from gateway.campaign.zones import zone
from gateway.commands._options import Refused, config_option, dsn_option, plain, said_plainly, settings_of
from gateway.commands.audience import Instant
from gateway.commands.route import Number
from gateway.config import Settings
from gateway.countries import country_of
from gateway.dispatch.preview import Chain, chain, suppressed_of
from gateway.gate import Gate, gate_of
from gateway.message import RECEIPT_STATES, ChunkState, MessageClass, Refusal
from gateway.rules import text_of
from gateway.smpp import status as statuses
from gateway.store import audit, considered, postgres, runs, traces

QUERY_S = 60.0
# A campaign is looked for by name among so many of the newest runs.
LOOKED_AT = 1000
STATES = ("none", "pending", "granted", "revoked")
# The checks of the gate in their order, and the rules they are of.
RULES = {
    "suppressed": "CN-10 CN-11",
    "consent": "CN-2",
    "refused": "EX-2 SG-6",
    "window": "QH-1 QH-5",
    "legal cap": "CP-7",
    "cap": "CP-1",
    "gap": "CP-1",
    "talk": "IN-7",
}


@click.command()
@config_option
@dsn_option
@click.option("--number", type=Number(), required=True, help="Whom it is about.")
@click.option("--campaign", required=True, metavar="NAME|RUN", help="A run by its number, or the newest of that name.")
@click.option("--at", type=Instant(), help="Ask the gate as of then, and not now.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(config: Path | None, dsn: str, number: int, campaign: str, at: datetime | None, as_json: bool) -> None:
    """Print what became of a message to a number, and every check of the gate as of now, with rules and values.

    Exit code: 0 explained, 65 there is no such campaign.
    """
    with said_plainly():
        settings = settings_of(config, dsn)
        found = app.run(look(settings, number, campaign, at or app.CLOCK.wall()))
        click.echo(json.dumps(found, ensure_ascii=False) if as_json else as_text(found))


async def look(settings: Settings, number: int, campaign: str, now: datetime) -> dict[str, Any]:
    """Find and tell; raises StoreError. Refused: no such campaign."""
    async with app.open_database(settings, migrates=False) as database, database.connection(QUERY_S) as connection:
        run = await run_of(connection, campaign)
        gate = gate_of(run.gate)
        class_ = MessageClass(run.class_)
        caps = [] if gate is None else [cap.words for cap in caps_of(gate, class_)]
        happened, sender = await _happened(connection, settings, run, number, caps)
        skipped = await considered.why_skipped(connection, bucket(number), run.id, number)
        told: dict[str, Any] = {
            "number": f"+{number}", "run": run.id, "campaign": run.name, "class": class_.name.lower(),
            "brand": None if gate is None else gate.brand, "at": now.isoformat(), "happened": happened,
            "data": [
                {"since": one.at.isoformat(), "by": one.by, "versions": one.reason}
                for one in await audit.data_of(connection, run.id, run.created_at)
            ],
            "data_now": versions(), "label": _label(gate, number),
            "not_queued": [{"reason": reasons.word_of(one), "rule": reasons.rule_of(one)} for one in skipped],
        }  # fmt: skip
        if gate is None:
            is_stopped = any(number in one for one in await suppressed_of(connection, class_, sender))
            return told | {"now": _ungated(run, now, is_stopped=is_stopped)}
        found = await chain(connection, run, gate, number, now, sender, settings.inboxes)
        return told | {"now": _now(found, run, gate, now)}


async def run_of(connection: postgres.Connection, campaign: str) -> runs.Run:
    """Find a run by its number or name."""
    if campaign.isascii() and campaign.isdecimal() and len(campaign) <= 18:
        found = await runs.run_by_id(connection, int(campaign))
        if found is not None:
            return found
    newest = await runs.recent_runs(connection, LOOKED_AT)
    for run in newest:
        if run.name == campaign:
            return run
    close = difflib.get_close_matches(campaign, {run.name for run in newest}, 1)
    meant = f" (did you mean {plain(close[0])!r}?)" if close else ""
    raise Refused(f"--campaign: expected the number of a run or the name of one{meant}, found {plain(campaign)!r}")


async def _happened(
    connection: postgres.Connection, settings: Settings, run: runs.Run, number: int, caps: list[str]
) -> tuple[list[dict[str, Any]], str]:
    """Tell each place that the number has in a run; -> that, and who sends to it."""
    told = []
    sender = ""
    for lane, name in (await runs.lanes(connection)).items():
        for chunk_id, pos in await traces.by_number(connection, lane, run.id, number):
            story = await traces.story(connection, lane, chunk_id, pos)
            if story is None:
                continue
            carrier = settings.carriers.get(name)
            sender = story.place.source or (carrier.source if carrier is not None else "")
            state = ChunkState(story.place.state)
            told.append(
                {
                    "message": f"{run.id}/{chunk_id}:{pos}",
                    "carrier": name,
                    "sender": sender,
                    "queue": state.name.lower(),
                    "not_before": story.place.not_before.isoformat() if state == ChunkState.READY else None,
                    "outcomes": [_outcome(one, caps) for one in story.outcomes],
                    "receipts": [
                        {"at": one.at.isoformat(), "segment": one.segment, "state": RECEIPT_STATES[one.state]}
                        for one in story.receipts
                    ],
                    "moved": [move.why for move in story.moves],
                }
            )
    return told, sender


def _outcome(one: traces.Outcome, caps: list[str]) -> dict[str, Any]:
    word = reasons.word_of(one.status, caps) or "accepted"
    if one.status > 0:
        word = f"{word} {statuses.name(one.status)}"
    return {"at": one.at.isoformat(), "segment": one.segment, "reason": word, "rule": reasons.rule_of(one.status)}


def _ungated(run: runs.Run, now: datetime, *, is_stopped: bool) -> dict[str, Any]:
    """What there is to say of a run without a brand: STOP and its end alone."""
    stopped = reasons.Reason.STOP if is_stopped else 0
    checks = [
        _expiry(run, now),
        _check(
            "suppressed", int(stopped), None, "in the set of those who have said STOP" if stopped else "in no set", []
        ),
    ]
    return _sum_up(checks) | {"windows": [], "caps": [], "flags": []}


def _now(found: Chain, run: runs.Run, gate: Gate, now: datetime) -> dict[str, Any]:
    facts = found.facts
    words = [words for words, _, _ in found.caps]
    legal = [one for one in found.caps if one[0].endswith(" by law")]
    ours = [one for one in found.caps if one not in legal]
    held = ", ".join(f"{name} {STATES[facts[name]]}" for name in ("promotional", "transactional", "night"))
    last = "none" if facts["last_us"] is None else moment_of(facts["last_us"]).isoformat()
    reserved = "this run has reserved it already" if facts["is_reserved"] else ""
    passed_over = f"passed over by {gate.bypass_by or 'nobody known'}: {gate.bypass}" if gate.bypass else ""
    values = {
        "suppressed": "in no set of STOPs",
        "consent": f"{gate.consent_of or 'nobody'}: {held}; needs {gate.needs}",
        "refused": _refusals(gate),
        "window": f"as it is in {found.zone}" + (f", stated {facts['zone_name']}" if facts["zone_name"] else ""),
        "legal cap": reserved or _counts(legal),
        "cap": passed_over or reserved or _counts(ours),
        "gap": f"{gate.gap_s} s; last message {last}",
        "talk": "with a person of ours: what is promotional waits for its end",
    }
    checks = [_expiry(run, now)]
    checks += [_check(name, verdict, until, values[name], words) for name, verdict, until in found.checks]
    windows = [
        {
            "layer": each.layer, "rule": each.rule, "zone": each.zone, "window": text_of(each.window),
            "is_open": each.is_open, "local_time": now.astimezone(zone(each.zone)).strftime("%a %H:%M"),
        }
        for each in found.windows
    ]  # fmt: skip
    return _sum_up(checks) | {
        "windows": windows,
        "caps": [{"cap": words, "had": had, "limit": limit} for words, had, limit in found.caps],
        "flags": ["zone_guess"] if facts["is_guess"] else [],
    }


def _label(gate: Gate | None, number: int) -> str:
    """What the law of the number's country puts around the text; "" = nothing."""
    label = None if gate is None else gate.labels.get(country_of(number))
    if label is None:
        return ""
    return f"lacks {', '.join(label.lacks)}: it is not sent" if label.lacks else label.put("…")


def _refusals(gate: Gate) -> str:
    said = [name for name, tree in (("audience still matches", gate.audience), ("exception", gate.exception)) if tree]
    return "asked: " + ", ".join(said) if said else "nothing is asked"


def _counts(caps: list[tuple[str, int, int]]) -> str:
    return ", ".join(f"{words}: {had} of {limit}" for words, had, limit in caps) or "none"


def _expiry(run: runs.Run, now: datetime) -> dict[str, Any]:
    """The end of the run is asked for before the gate (TR-9, TH-6)."""
    if run.cancelled_at is not None:
        word, rule = reasons.WORDS[Refusal.CANCELLED]
        return {
            "check": "expiry", "result": "skip", "reason": word, "rule": rule, "until": None,
            "value": f"cancelled at {run.cancelled_at.isoformat()} by {run.cancelled_by}",
        }  # fmt: skip
    is_over = run.expires_at is not None and run.expires_at <= now
    ends = "never" if run.expires_at is None else run.expires_at.isoformat()
    return {
        "check": "expiry", "result": "skip" if is_over else "pass", "reason": "expired" if is_over else "",
        "rule": "TH-6", "until": None, "value": f"ends {ends}",
    }  # fmt: skip


def _check(name: str, verdict: int, until: datetime | None, value: str, caps: list[str]) -> dict[str, Any]:
    return {
        "check": name,
        "result": "pass" if verdict == 0 else "hold" if verdict > 0 else "skip",
        "reason": reasons.word_of(verdict, caps) if verdict < 0 else "",
        "rule": reasons.rule_of(verdict) if verdict < 0 else RULES[name],
        "until": None if until is None else until.isoformat(),
        "value": value,
    }


def _sum_up(checks: list[dict[str, Any]]) -> dict[str, Any]:
    """The first check that does not pass says what happens."""
    first = next((one for one in checks if one["result"] != "pass"), None)
    if first is None:
        return {"result": "send", "reason": "", "rule": "", "until": None, "checks": checks}
    return {key: first[key] for key in ("result", "reason", "rule", "until")} | {"checks": checks}


def as_text(found: dict[str, Any]) -> str:
    """Lay it out for a person."""
    brand = f", brand {found['brand']}" if found["brand"] else ", no brand: STOP alone is asked"
    out = [
        f"number    {found['number']}",
        f"run       {found['run']} {plain(found['campaign'])}, {found['class']}{brand}",
    ]
    if found["label"]:
        out.append(f"label     {plain(found['label'])}")
    out += ["", "what happened"]
    for one in found["happened"]:
        waits = f", not before {one['not_before']}" if one["not_before"] else ""
        out.append(f"  {one['message']} through {one['carrier']}: {one['queue']}{waits}")
        out += [f"    {each['at']}  {each['reason']}{_rule(each['rule'])}" for each in one["outcomes"]]
        out += [f"    {each['at']}  receipt: {each['state']}" for each in one["receipts"]]
        out += [f"    moved: {plain(why)}" for why in one["moved"]]
    out += [f"  not queued: {one['reason']}{_rule(one['rule'])}" for one in found["not_queued"]]
    if not found["happened"] and not found["not_queued"]:
        out.append("  nothing: the number was not considered for this run, or its rows are gone")
    for one in found["data"]:
        out.append(f"  decided by {one['versions']}, since {one['since']} on {plain(one['by'])} (QH-12)")
    now = found["now"]
    until = f" until {now['until']}" if now["until"] else ""
    out += ["", f"at {found['at']}: {now['result']}{until}" + (f", {now['reason']}" if now["reason"] else "")]
    for one in now["checks"]:
        until = f" until {one['until']}" if one["until"] else ""
        reason = f": {one['reason']}" if one["reason"] else ""
        out.append(f"  {one['result']:<5} {one['check']:<11}{reason}{until}{_rule(one['rule'])} {plain(one['value'])}")
    for one in now["windows"]:
        mark = "open" if one["is_open"] else "shut"
        out.append(f"  {mark:<5} {one['layer']}: {one['window']}; there it is {one['local_time']}{_rule(one['rule'])}")
    out += [f"  flag  {one}" for one in now["flags"]]
    out.append("  data  " + ", ".join(f"{name} {version}" for name, version in found["data_now"].items()) + " (QH-12)")
    return "\n".join(out)


def _rule(rule: str) -> str:
    return f" ({rule})" if rule else ""
