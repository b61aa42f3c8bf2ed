"""`sluice trace`: the whole story of one message: where it stood, what left, what was answered, what was said later."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from _fastpath.batch import Batch
from _fastpath.outbound import encode_batch
from gateway import app
from gateway.commands import _wire
from gateway.commands._options import config_option, dsn_option, plain, said_plainly, settings_of
from gateway.config import CarrierSettings, Settings
from gateway.countries import country_of
from gateway.dispatch.compose import encoding_of, form_of
from gateway.dispatch.identity import is_dead
from gateway.dispatch.route import health_of, table_of
from gateway.errors import ConfigError, EncodeError
from gateway.gate import gate_of
from gateway.message import RECEIPT_STATES, ChunkState, MessageClass, Refusal
from gateway.routing import Standing, decide
from gateway.smpp import pdu as pdus
from gateway.smpp import status as statuses
from gateway.smpp.capture import Crossed, Tape, pdus_of
from gateway.smpp.spec import EsmClass
from gateway.store import runs, traces

QUERY_S = 10.0
# For the workers to hand out what their binds keep; the story is told without it, too.
WIRE_S = 0.5
_SUBMIT_SM, _SUBMIT_SM_RESP, _DELIVER_SM, _DATA_SM = 0x04, 0x80000004, 0x05, 0x103
ANEW = (
    "composed anew from the payload and the settings of now: sequence_number and the reference of a long text are not "
    "those that were sent"
)


@click.command()
@config_option
@dsn_option
@click.option("--carrier", metavar="NAME", help="Look at this carrier alone.")
@click.option("--run", "run_id", type=click.IntRange(1, 2**63 - 1), help="With a number: the run it was sent in.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("message")
def trace(config: Path | None, dsn: str, carrier: str | None, run_id: int | None, as_json: bool, message: str) -> None:
    """Tell all that is known of MESSAGE.

    MESSAGE is RUN/CHUNK:POSITION, or the id that the carrier gave, or with --run a number such as +447700900123.
    """
    with said_plainly():
        settings = settings_of(config, dsn)
        if carrier is not None:
            settings.carrier(carrier)
        found = app.run(look(settings, message, run_id, carrier)) if app.has_database(settings) else []
    if not found:
        raise click.ClickException(f"{plain(message)}: not known")
    if as_json:
        click.echo(json.dumps({"messages": found}))
    else:
        for each in found:
            show(each)


async def look(settings: Settings, message: str, run_id: int | None, carrier: str | None) -> list[dict[str, Any]]:
    """Find and tell; raises StoreError."""
    async with app.open_database(settings, migrates=False) as database, database.connection(QUERY_S) as connection:
        names = await runs.lanes(connection)
        lanes = [lane for lane, name in names.items() if carrier in (None, name)]
        places: list[tuple[int, int, int]] = []
        direct = re.fullmatch(r"(\d{1,18})/(\d{1,18}):(\d{1,9})", message)
        for lane in lanes:
            if direct:
                places.append((lane, int(direct[2]), int(direct[3])))
            elif run_id is not None and (number := _number(message)):
                places += [(lane, *each) for each in await traces.by_number(connection, lane, run_id, number)]
            else:
                places += [(lane, *each) for each in await traces.by_message_id(connection, lane, message)]
        us, now = app.identity(), app.CLOCK.wall()
        living = [each for each in await runs.workers(connection) if not is_dead(each, us, now)]
        tapes: dict[str, list[tuple[str, Tape]]] = {}
        told = []
        for lane, chunk_id, pos in places:
            story = await traces.story(connection, lane, chunk_id, pos)
            if story is None or (direct and story.place.run != int(direct[1])):
                continue
            run = await runs.run_by_id(connection, story.place.run)
            name = names[lane]
            if name not in tapes:
                tapes[name] = (await _wire.tapes(connection, name, WIRE_S))[0] if living else []
            one = tell(story, run, name, settings.carriers.get(name))
            one["decision"] = decided(story, run, settings, health_of(living))
            one["moves"] = [
                {
                    "at": _moment(move.at),
                    "from": names.get(move.lane, str(move.lane)),
                    "chunk": move.chunk_id,
                    "to": names.get(move.to_lane, str(move.to_lane)),
                    "why": move.why,
                    "arrived_at": _moment(move.arrived_at),
                }
                for move in story.moves
            ]
            one["wire"] = crossed(story, one["octets"], [(each, pdus_of(tape)) for each, tape in tapes[name]])
            told.append(one)
        return told


def _number(text: str) -> int | None:
    digits = text.removeprefix("+").replace(" ", "")
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= 15 else None


def tell(story: traces.Story, run: runs.Run | None, carrier: str, settings: CarrierSettings | None) -> dict[str, Any]:
    """Put the rows into words."""
    place = story.place
    batch = Batch(place.chunk_id, place.n, 0)
    rank = batch.ranks(0, place.n).index(place.pos)
    outcomes: list[dict[str, Any]] = []
    attempts: dict[int, int] = {}
    for outcome in story.outcomes:
        attempts[outcome.segment] = attempts.get(outcome.segment, 0) + 1
        outcomes.append(
            {
                "at": _moment(outcome.at),
                "segment": outcome.segment,
                "segments": outcome.segments,
                "row": attempts[outcome.segment],
                "epoch": outcome.epoch,
                "status": outcome.status,
                "meaning": _meaning(outcome.status),
                "rtt_ms": round(outcome.rtt_us / 1000, 3),
                "message_id": outcome.message_id,
            }
        )
    return {
        "message": f"{place.run}/{place.chunk_id}:{place.pos}",
        "number": place.number,
        "carrier": carrier,
        "run": None
        if run is None
        else {
            "id": run.id,
            "name": run.name,
            "class": MessageClass(run.class_).name.lower(),
            "policy": run.policy,
            "template": run.template,
            "created_at": _moment(run.created_at),
            "expires_at": _moment(run.expires_at),
            "cancelled_at": _moment(run.cancelled_at),
            "cancelled_by": run.cancelled_by,
        },
        "fields": dict(zip(run.fields, place.fields, strict=False)) if run is not None else {},
        "route": f"lane {place.lane} ({carrier}), of the run's {_lanes(run)}",
        "chunk": {
            "state": ChunkState(place.state).name.lower(),
            "class": MessageClass(place.class_).name.lower(),
            "positions": place.n,
            "sent_upto": place.sent_upto,
            "rank": rank,
            "may_have_left": rank < place.sent_upto,
            "epoch": place.epoch,
            "not_before": _moment(place.not_before),
            "first_claimed_at": _moment(place.first_claimed_at),
            "owner": place.owner,
            "repeats_chunk": place.repeats,
        },
        "octets": composed(story, run, settings),
        "outcomes": outcomes,
        "receipts": [_receipt(each) for each in story.receipts],
        "receipts_waiting": [_receipt(each) for each in story.waiting],
        "sent_again": [{"chunk": chunk, "at": _moment(at)} for chunk, at in story.repeats],
    }


def decided(
    story: traces.Story, run: runs.Run | None, settings: Settings, health: dict[str, Standing]
) -> dict[str, Any] | None:
    """Route it once more, as of now; None where that cannot be done."""
    place = story.place
    if run is None or place.number is None or not settings.carriers:
        return None
    try:
        table = table_of(settings)
    except ConfigError:
        return None
    decision = decide(place.number, MessageClass(place.class_), place.source, app.CLOCK.wall(), health, table)
    return {
        "as_of": "now",
        "carrier": decision.carrier,
        "fallback": list(decision.fallback),
        "considered": [
            {"route": each.route, "carrier": each.carrier, "is_chosen": each.is_chosen, "why": each.why}
            for each in decision.considered
        ],
    }


def crossed(story: traces.Story, octets: dict[str, Any], seen: list[tuple[str, list[Crossed]]]) -> list[dict[str, Any]]:
    """Find the PDUs of this message among those that the workers still have: submits, answers, receipts.

    A submit_sm is this message's where the answer gave it an id that is known for it, or where number and text are.
    """
    place = story.place
    ids = {each.message_id for each in story.outcomes if each.message_id}
    texts = {
        _text_of(pdus.decode(bytes.fromhex(each["hex"]), pdus.CARRIER)) for each in octets.get("pdus", ())
    }  # fmt: skip
    found: list[tuple[float, dict[str, Any]]] = []
    for instance, all_of in seen:
        submits: dict[tuple[int, int], tuple[Crossed, pdus.Pdu]] = {}
        for one in all_of:
            command = int.from_bytes(one.octets[4:8], "big")
            key = (one.connection, int.from_bytes(one.octets[12:16], "big"))
            if command == _SUBMIT_SM and one.is_out:
                if place.number is not None and str(place.number).encode() in one.octets:
                    submits[key] = one, pdus.salvage(one.octets, pdus.CARRIER)[0]
            elif command == _SUBMIT_SM_RESP and not one.is_out and key in submits:
                submit, pdu = submits.pop(key)
                answer = pdus.salvage(one.octets, pdus.CARRIER)[0]
                if answer.fields.get("message_id") in ids or _text_of(pdu) in texts:
                    found += [(submit.at, _crossing(submit, pdu, instance)), (one.at, _crossing(one, answer, instance))]
            elif command in (_DELIVER_SM, _DATA_SM) and any(each.encode("latin-1") in one.octets for each in ids):
                pdu = pdus.salvage(one.octets, pdus.CARRIER)[0]
                found.append((one.at, _crossing(one, pdu, instance)))
        # Without an answer so far.
        found += [
            (submit.at, _crossing(submit, pdu, instance)) for submit, pdu in submits.values() if _text_of(pdu) in texts
        ]
    return [each for _, each in sorted(found, key=lambda pair: pair[0])]


def _text_of(pdu: pdus.Pdu) -> bytes:
    """Read what of a submit_sm stands behind the header of its text: a part's reference differs each time."""
    text = bytes(pdu.fields.get("short_message", b"")) or pdu.tlv("message_payload") or b""
    if pdu.fields.get("esm_class", 0) & EsmClass.UDHI and text:
        # Which part it is stays: the last two octets of a header that tells of parts alone.
        return text[text[0] - 1 :]
    return text


def _crossing(one: Crossed, pdu: pdus.Pdu, instance: str) -> dict[str, Any]:
    return {
        "at": datetime.fromtimestamp(one.at, UTC).isoformat(),
        "worker": instance,
        "way": "out" if one.is_out else "in",
        "command": pdu.command,
        "sequence_number": pdu.sequence_number,
        "status": _meaning(pdu.command_status) if pdu.is_response else None,
        "message_id": pdu.fields.get("message_id"),
        "hex": one.octets.hex(),
    }


def composed(story: traces.Story, run: runs.Run | None, settings: CarrierSettings | None) -> dict[str, Any]:
    """Compose the message's PDUs once more; says why it cannot be done where it cannot."""
    place = story.place
    if run is None or place.number is None:
        return {"why_not": "the run or its payload is gone"}
    if settings is None:
        return {"why_not": "the carrier is not in these settings"}
    try:
        batch = Batch.of(place.chunk_id, [place.number], [place.fields])
        gate = gate_of(run.gate)
        label = None if gate is None else gate.labels.get(country_of(place.number))
        form = form_of(
            run.template, settings, run.fields, encoding_of(run.encoding), place.source,
            has_windows=gate is not None, label=label,
        )  # fmt: skip
        batch.dress(form)
    except (EncodeError, ValueError) as error:
        return {"why_not": str(error)}
    octets, _, refusals = encode_batch(batch)
    if refusals:
        return {"why_not": _meaning(refusals[0])}
    found = []
    while octets:
        length = int.from_bytes(octets[:4], "big")
        pdu = pdus.decode(octets[:length])
        fields = {name: value.hex() if isinstance(value, bytes) else value for name, value in pdu.fields.items()}
        fields.update({f"tlv 0x{tlv.tag:04x}": tlv.value.hex() for tlv in pdu.tlvs})
        found.append({"command": pdu.command, "fields": fields, "hex": octets[:length].hex()})
        octets = octets[length:]
    return {"note": ANEW, "pdus": found}


def show(told: dict[str, Any]) -> None:
    """Print it for a person; what a stranger wrote is made fit for a terminal."""
    run, chunk = told["run"], told["chunk"]
    line = _liner()
    line("message", f"{told['message']} to {'+' + str(told['number']) if told['number'] else 'a number that is gone'}")
    if run is not None:
        line("run", f"{run['id']} {run['name']!r}, {run['class']}, {run['policy']}, made {run['created_at']}")
        if run["cancelled_at"]:
            line("cancelled", f"at {run['cancelled_at']} by {run['cancelled_by']}")
        line("text", repr(run["template"]) + "".join(f", {key} = {value!r}" for key, value in told["fields"].items()))
    line("route", told["route"])
    if told["decision"] is not None:
        line("decision", f"as of now it would go by {told['decision']['carrier'] or 'nobody'}:")
        for one in told["decision"]["considered"]:
            mark = "*" if one["is_chosen"] else " "
            line("", f"  {mark} {one['route']}{': ' + one['carrier'] if one['carrier'] else ''}: {one['why']}")
    for move in told["moves"]:
        line("moved", f"{move['at']} from {move['from']} to {move['to']}: {move['why']}")
    line(
        "chunk",
        f"{chunk['state']}, {chunk['positions']} messages, epoch {chunk['epoch']}, "
        f"claimed first {chunk['first_claimed_at'] or 'never'}, owner {chunk['owner'] or 'none'}",
    )
    left = "may have left" if chunk["may_have_left"] else "never left"
    line("watermark", f"{chunk['sent_upto']} of {chunk['positions']}; this one is number {chunk['rank']}: it {left}")
    if chunk["repeats_chunk"] is not None:
        line("repeat", f"of chunk {chunk['repeats_chunk']}: sent again after doubt")
    for pdu in told["octets"].get("pdus", ()):
        line(pdu["command"], ", ".join(f"{name}={value!r}" for name, value in pdu["fields"].items()))
        line("octets", pdu["hex"])
    line("", told["octets"].get("note") or f"octets cannot be composed: {told['octets']['why_not']}")
    for one in told["wire"]:
        said = f": {one['status']}" if one["status"] else ""
        arrow = ">" if one["way"] == "out" else "<"
        line("wire", f"{one['at']} {arrow} {one['command']} {one['sequence_number']}{said}")
        line("octets", one["hex"])
    for outcome in told["outcomes"]:
        part = f"segment {outcome['segment']}/{outcome['segments']}" if outcome["segment"] else "the whole message"
        given = f", message_id {outcome['message_id']}" if outcome["message_id"] else ""
        line("outcome", f"{outcome['at']} {part}: {outcome['meaning']}, after {outcome['rtt_ms']} ms{given}")
    for kind, title in (("receipts", "receipt"), ("receipts_waiting", "waiting")):
        for receipt in told[kind]:
            part = f" segment {receipt['segment']}" if receipt["segment"] else ""
            error = f", err {receipt['err']}" if receipt["err"] else ""
            line(title, f"{receipt['at']}{part}: {receipt['state']}{error}: {receipt['text']}")
    for again in told["sent_again"]:
        line("again", f"{again['at']} in chunk {again['chunk']}")
    if not told["outcomes"]:
        line("outcome", "none yet")


def _liner() -> Any:
    return lambda title, text: click.echo(f"{title:<10}  {plain(str(text))}")


def _receipt(heard: traces.Heard) -> dict[str, Any]:
    return {
        "at": _moment(heard.at),
        "segment": heard.segment,
        "state": RECEIPT_STATES.get(heard.state, "unknown"),
        "err": heard.err,
        "done_at": _moment(heard.done_at),
        "message_id": heard.message_id,
        "text": (heard.raw or b"").decode("latin-1"),
        "raw": (heard.raw or b"").hex(),
    }


def _meaning(status: int) -> str:
    if status >= 0:
        row = statuses.describe(status)
        return f"{row.name} (0x{status:02x}), {row.text}"
    if status == Refusal.UNCERTAIN:
        return "in doubt: the octets may have left, and no answer came"
    return f"not sent: {Refusal(status).name.lower()}" if status in set(Refusal) else f"not sent: reason {status}"


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _lanes(run: runs.Run | None) -> str:
    return "unknown lanes" if run is None else f"lanes {', '.join(map(str, run.lanes))}"
