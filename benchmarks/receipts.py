"""Receipts as carriers send them, through a whole worker, real sockets and Postgres; cases of benchmarks/carriers.py.

    early     2000 a second, every receipt 5 ms before the response that names its id
    forms     every published form of a receipt, mixed, over accounts whose ids agree with their responses by each rule;
              and messages from handsets that look like receipts

What was matched is held against the simulator's ledger, receipt by receipt: number and state. Every number is written
to once by a carrier, and a receipt names it: one that stands with another number's message is a false match.
"""

import asyncio
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks import figures
from gateway import app
from gateway.commands._life import FIELDS, TEXT, make_people
from gateway.config import CarrierSettings, DatabaseSettings, Settings
from gateway.message import MessageClass, Policy
from gateway.simulator import behaviour, ledger
from gateway.simulator.behaviour import RECEIPT_SHAPES, STATE_BY_WORD
from gateway.simulator.smsc import Smsc
from gateway.store import runs

Figures = list[dict[str, Any]]

PATIENCE_S = 60.0
# Words of form 10, 11, 12, 30 and 31, and errors of 13, 14 and 29, in every shape that has words.
STATES = {
    "DELIVRD": 0.5, "UNDELIV:075": 0.04, "UNDELIV:21b": 0.04, "UNDELIV:0000": 0.02, "EXPIRED": 0.04, "DELETED": 0.02,
    "REJECTD:375": 0.04, "FAILED:002": 0.04, "BUFFRED": 0.03, "BUFFERD": 0.02, "ACKED": 0.03, "ACCEPTD": 0.03,
    "DND_REJECTED:123": 0.03, "SCHEDLD": 0.03, "SKIPPED": 0.03, "DELIVERED": 0.03, "UNDELIVERABLE:954": 0.03,
}  # fmt: skip
# What only ends of which a list knows words; and what needs an account of its own: its ids go by another rule.
LISTED = {"DELIVRD": 0.8, "UNDELIV:12": 0.2}
IN_HEX = ("zero-padded", "in-decimal")
MIXED = tuple(name for name in RECEIPT_SHAPES if name not in (*IN_HEX, "list"))
NUMERIC = {"0": "scheduled", "1": "enroute", "2": "delivered", "3": "expired", "4": "deleted", "5": "undeliverable",
           "6": "accepted", "8": "rejected", "9": "skipped"}  # fmt: skip
LOOKALIKE = "id:1 stat:ok"


def sites(receipts: dict[str, Any]) -> tuple[behaviour.Carrier, ...]:
    """The carriers of the forms; what they have in common is given."""
    responses = behaviour.Responses(delay_ms=2, jitter_ms=4)

    def site(name: str, formats: tuple[str, ...], states: dict[str, float] = STATES, **more: Any) -> behaviour.Carrier:
        esm_class, first_id = more.pop("esm_class", 4), more.pop("first_id", 0)
        return behaviour.Carrier(
            name=name, first_id=first_id, responses=responses,
            receipts=behaviour.Receipts(formats=dict.fromkeys(formats, 1.0), states=states, esm_class=esm_class,
                                        **receipts),
            **more,
        )  # fmt: skip

    # Form 34: from handsets, and they stay with the handsets.
    lookalikes = behaviour.Inbound(per_s=20, texts=(LOOKALIKE, "id:7 sub:001 stat:DELIVRD err:000 text:"))
    return (
        site("mixed", MIXED, inbound=lookalikes),
        # Form 17: above 2**63.
        site("hex", IN_HEX, first_id=0x812FC74700000000),
        site("hex-small", IN_HEX),
        site("list", ("list",), LISTED),
        site("untyped", tuple(name for name in MIXED if RECEIPT_SHAPES[name].text != "empty"), esm_class=0),
    )


SETTINGS: dict[str, dict[str, Any]] = {
    "mixed": {"receipt_states": {"DND_REJECTED": "rejected", **NUMERIC}},
    "hex": {"receipt_states": {"DND_REJECTED": "rejected"}},
    "hex-small": {"receipt_states": {"DND_REJECTED": "rejected"}},
    "list": {},
    "untyped": {"receipt_states": {"DND_REJECTED": "rejected", **NUMERIC}, "receipt_recognised_by": "pattern"},
}


async def run_through(
    carriers: tuple[behaviour.Carrier, ...], settings: dict[str, dict[str, Any]], messages: int
) -> dict[str, Any]:
    """Send so many messages over each carrier and wait for their receipts; -> what came of it."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        book = Path(folder) / "ledger.csv"
        async with Smsc(behaviour.Settings(seed=1, ledger=str(book), carrier=carriers)) as smsc:
            common = {"host": "127.0.0.1", "system_id": "test", "adaptive": False, "window": 500}
            lanes = {
                name: CarrierSettings(**{**common, "port": smsc.ports[name], **more}) for name, more in settings.items()
            }
            whole = Settings(
                database=DatabaseSettings(data_root=str(Path(folder) / "postgres"), deadline_s=60.0), carriers=lanes
            )
            async with app.open_database(whole) as database, database.connection(600) as connection:
                found = await _send(whole, database, connection, smsc, messages)
        accounts = {}
        for name in settings:
            path = book if len(carriers) == 1 else book.with_name(f"ledger-{quote(name, safe='')}.csv")
            accounts[name] = judge(ledger.read(path), found["receipts"][name])
    sums = {key: sum(one[key] for one in accounts.values()) for key in ("told", "matched", "false")}
    return {**sums, "rate": found["rate"], "accounts": accounts, "rules": found["rules"], "handsets": found["handsets"]}


async def _send(
    settings: Settings, database: app.Database, connection: Any, smsc: Smsc, messages: int
) -> dict[str, Any]:
    wall = app.CLOCK.wall
    list_id = await make_people(connection, messages)
    async with app.open_worker(settings, database) as worker:
        began = time.monotonic()
        chunked = []
        for name in settings.carriers:
            run = await runs.add_run(
                connection, name=f"bench {name}", template=TEXT, fields=FIELDS, class_=MessageClass.BULK,
                policy=Policy.ONCE, lanes=[await runs.lane_of(connection, name, wall())], list_id=list_id, source=None,
                now=wall(),
            )  # fmt: skip
            await runs.materialise(connection, run, [1], messages, wall())
            chunked.append(run.id)
        ledgers = [lane.carrier.ledger for lane in worker.lanes]
        deadline = began + PATIENCE_S + messages * len(ledgers) / 500
        # The rate runs from the first response that was seen: making the run is not sending.
        first, first_at = 0, began
        while (accepted := sum(one.accepted for one in ledgers)) < messages * len(ledgers):
            if time.monotonic() > deadline:
                break
            if not first and accepted:
                first, first_at = accepted, time.monotonic()
            await asyncio.sleep(0.01)
        rate = (accepted - first) / (time.monotonic() - first_at)
        # All that will come has come, and nothing waits any more; or nobody waits for it any longer.
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            totals = smsc.totals()
            if not totals["waiting"] and totals["receipts"] == totals["receipts_acked"]:
                kept = await connection.fetchval("SELECT count(*) FROM receipt")
                if kept >= totals["receipts"]:
                    break
            await asyncio.sleep(0.1)
        rules = {lane.name: {**lane.carrier.ledger.recall.matches, "learnt": lane.carrier.ledger.recall.rule,
                             "later": lane.rescue.matched, "strays": lane.carrier.ledger.recall.strays}
                 for lane in worker.lanes}  # fmt: skip
        rows = {lane.name: await connection.fetch(
            "SELECT r.number, r.state, p.msisdn[r.pos + 1] AS sent_to FROM receipt r "
            "JOIN chunk_payload p ON p.lane = r.lane AND p.chunk_id = r.chunk_id WHERE r.lane = $1", lane.carrier.lane)
            for lane in worker.lanes}  # fmt: skip
        handsets = await connection.fetchval("SELECT count(*) FROM inbound_message")
        told = {
            "heard": int(handsets),
            "sent": int(smsc.totals()["inbound_acked"]),
            "receipts": int(await connection.fetchval(
                "SELECT count(*) FROM inbound_message WHERE NOT (text = ANY($1::text[]))",
                [text for site in smsc.settings.carrier for text in site.inbound.texts],
            )),
        }  # fmt: skip
    return {"rate": rate, "receipts": rows, "rules": rules, "handsets": told}


def judge(messages: list[ledger.Message], rows: list[Any]) -> dict[str, Any]:
    """Hold the receipts of a lane against what its carrier told; -> counts, and some of what is wrong."""
    told = Counter(
        (int(message.destination), STATE_BY_WORD[receipt.state]) for message in messages for receipt in message.receipts
    )
    found = Counter((row["sent_to"], row["state"]) for row in rows if row["number"] == row["sent_to"])
    strange = [tuple(row) for row in rows if row["number"] != row["sent_to"]]
    wrong = list((found - told).elements()) + strange
    return {
        "told": sum(told.values()),
        "matched": sum((told & found).values()),
        "false": len(wrong),
        "unmatched": [str(one) for one in (told - found).elements()][:5],
        "wrong": [str(one) for one in wrong[:5]],
    }


def early(quick: bool) -> tuple[Figures, dict[str, Any]]:
    """2000 a second and somewhat more, each receipt 5 ms before its response."""
    site = behaviour.Carrier(
        name="early",
        receipts=behaviour.Receipts(early_share=1.0, early_ms=5),
    )
    run = _run((site,), {"early": {"tps": 2100}}, 2_000 if quick else 60_000)
    share = run["matched"] / run["told"]
    return [
        figures.figure("receipts 5 ms early, matched", [share * 100], "%", floor=100.0),
        figures.figure("receipts 5 ms early, false", [run["false"]], "receipts", floor=0.0, better=figures.LOWER),
        figures.figure("receipts 5 ms early, rate", [run["rate"]], "messages/s", floor=2000.0),
    ], {"run": run}


def forms(quick: bool) -> tuple[Figures, dict[str, Any]]:
    """All forms, mixed, three in ten of the receipts early."""
    run = _run(sites({"early_share": 0.3, "early_ms": 2, "delay_ms": 10}), SETTINGS, 1_000 if quick else 20_000)
    handsets = run["handsets"]
    lower: dict[str, Any] = {"floor": 0.0, "better": figures.LOWER}
    return [
        figures.figure("receipt forms, matched", [run["matched"] / run["told"] * 100], "%", floor=99.99),
        figures.figure("receipt forms, false", [run["false"]], "receipts", **lower),
        figures.figure("receipt forms, taken for MO", [handsets["receipts"]], "receipts", **lower),
        figures.figure(
            "receipt forms, MO taken for receipts", [max(0, handsets["sent"] - handsets["heard"])], "messages", **lower
        ),
    ], {"run": run}


def _run(carriers: tuple[behaviour.Carrier, ...], settings: dict[str, dict[str, Any]], messages: int) -> dict[str, Any]:
    with asyncio.Runner(loop_factory=app.new_loop) as runner:
        return runner.run(run_through(carriers, settings, messages))
