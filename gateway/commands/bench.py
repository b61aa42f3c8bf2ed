"""`sluice bench`: what this machine does, as one JSON object a run."""

import asyncio
import json
import random
import resource
import sys
import time
from typing import Any

import click

from _fastpath.batch import Batch, read_batches
from _fastpath.outbound import Form, encode_batch
from _fastpath.template import Template
from gateway import app
from gateway.commands._campaign import reason_of
from gateway.commands._life import run_life
from gateway.commands._options import Finite, Refused, said_plainly
from gateway.config import CarrierSettings, Problem, decode, dsn_problem
from gateway.errors import ConfigError
from gateway.message import MessageClass
from gateway.smpp.carrier import Carrier

# 100 characters, all of them GSM.
TEXT = "Hi Katarina, your order 48213377 has left our depot and arrives on Friday between 14:00 and 16:00 h."
CHUNK = 1000
# Positions claimed ahead, as a worker would keep them.
AHEAD = 100_000


def claimed_octets(chunk_id: int, first_number: int, n: int = CHUNK) -> bytes:
    """One row as a claim reads it from Postgres: n numbers from `first_number` on, no params."""
    numbers = b"".join(
        (8).to_bytes(4, "big") + number.to_bytes(8, "big") for number in range(first_number, first_number + n)
    )
    array = b"".join(x.to_bytes(4, "big") for x in (1, 0, 20, n, 1)) + numbers
    row = (8).to_bytes(2, "big")
    for value in (chunk_id, 1):
        row += (8).to_bytes(4, "big") + value.to_bytes(8, "big")
    for value in (1, 0):
        row += (4).to_bytes(4, "big") + value.to_bytes(4, "big")
    for value in (int(MessageClass.BULK), 0):
        row += (2).to_bytes(4, "big") + value.to_bytes(2, "big")
    row += len(array).to_bytes(4, "big") + array + (0xFFFFFFFF).to_bytes(4, "big")
    return b"PGCOPY\n\xff\r\n\x00" + bytes(8) + row + b"\xff\xff"


class Supply:
    """Claimed octets without a database: the same rows again and again, under new chunk ids."""

    def __init__(self, form: Form, messages: int):
        self._form = form
        self._left = messages
        self._chunk_id = 0
        self._rows = claimed_octets(0, 447_700_900_000)
        self._id_at = 19 + 2 + 4

    def refill(self, carrier: Carrier) -> None:
        """Claim until so many positions wait, or no message is left."""
        backlog = carrier.backlog
        backlog.take_finished()
        while self._left > 0 and backlog.unsent < AHEAD:
            self._chunk_id += 1
            if self._left >= CHUNK:
                at = self._id_at
                octets = self._rows[:at] + self._chunk_id.to_bytes(8, "big") + self._rows[at + 8 :]
            else:
                octets = claimed_octets(self._chunk_id, 447_700_900_000, self._left)
            for batch in read_batches(octets):
                batch.dress(self._form)
                batch.commit(batch.n)
                backlog.add(batch)
                self._left -= batch.n


def carrier_of(section: dict[str, Any]) -> CarrierSettings:
    """Take the options as the settings they are; ConfigError."""
    problems: list[Problem] = []
    carriers = decode({"carriers": {"bench": section}}, "", problems).carriers
    if problems:
        raise ConfigError(
            [(f"--{key.rpartition('.')[2].replace('_', '-')}", expected, found) for key, expected, found in problems]
        )
    return carriers["bench"]


def segments_of(form: Form) -> int:
    """Segments of the text; Refused when it cannot be sent."""
    try:
        batch = Batch.of(1, [447_700_900_000], [[None] * len(form.template.fields)] if form.template.fields else None)
        batch.dress(form)
        batch.commit(1)
        _, segments, refused = encode_batch(batch)
    except ValueError as error:
        raise Refused(f"--text: {error}") from error
    if refused:
        raise Refused(f"--text: {reason_of(refused[0])}")
    return segments


async def run_client(
    settings: CarrierSettings, messages: int, receipts: bool, text: str, timeout_s: float
) -> dict[str, Any]:
    """Send so many messages and wait for their responses (and receipts); -> the result object."""
    carrier = Carrier(
        "bench",
        settings,
        lane=1,
        clock=time.monotonic,
        chance=random.Random(1),
        on_request=lambda link, pdu: None,
        at_once=True,
    )
    try:
        form = Form(
            Template(text),
            source=settings.source,
            source_ton=settings.source_ton,
            source_npi=settings.source_npi,
            registered_delivery=1 if receipts else 0,
        )
    except ValueError as error:
        raise Refused(f"--text: {error}") from error
    segments = segments_of(form)
    supply = Supply(form, messages)
    ledger = carrier.ledger
    carrier.start()
    deadline = time.monotonic() + timeout_s
    try:
        while not all(bind.is_bound for bind in carrier.binds):
            if time.monotonic() > deadline or any(bind.last_error for bind in carrier.binds):
                errors = sorted({bind.last_error for bind in carrier.binds if bind.last_error})
                raise click.ClickException(
                    f"no bind at {settings.host}:{settings.port}: {'; '.join(errors) or 'no answer'}"
                )
            carrier.changed.clear()
            try:
                await asyncio.wait_for(carrier.changed.wait(), 0.1)
            except TimeoutError:
                pass
        cpu = time.process_time()
        started = time.monotonic()
        supply.refill(carrier)
        carrier.pump()
        flushed = 0
        while True:
            await asyncio.sleep(0.001)
            supply.refill(carrier)
            # What a flush would hand to Postgres is taken here and let go: building the rows is part of the figure.
            if ledger.outcomes.count or ledger.receipts.count or ledger.waiting.count:
                flushed += len(ledger.outcomes.take()) + len(ledger.receipts.take()) + len(ledger.waiting.take())
            carrier.pump()
            now = time.monotonic()
            done = ledger.accepted + ledger.rejected + ledger.uncertain + ledger.refused
            if done >= messages * segments:
                arrived = ledger.receipts_matched + ledger.receipts_waiting
                if not receipts or arrived >= ledger.accepted:
                    break
            if now > deadline:
                break
        elapsed = time.monotonic() - started
        cpu = time.process_time() - cpu
    finally:
        await carrier.stop()
    responses = ledger.responses
    answered = responses / segments
    return {
        "bench": "client",
        "messages": messages,
        "segments": segments,
        "binds": settings.binds,
        "window": settings.window,
        "seconds": round(elapsed, 4),
        "rate": round(answered / elapsed, 1) if elapsed else 0.0,
        "cpu_us_per_message": round(cpu / max(1, answered) * 1e6, 4),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "responses": responses,
        "receipts": ledger.receipts_matched + ledger.receipts_waiting,
        "receipts_matched": ledger.receipts_matched,
        "errors": ledger.rejected + ledger.uncertain + ledger.refused,
        "throttled": ledger.throttled,
        "row_octets": flushed,
        "p50_ms": _ms(ledger.submit_to_response.quantile(0.5)),
        "p99_ms": _ms(ledger.submit_to_response.quantile(0.99)),
        "receipt_p50_ms": _ms(ledger.submit_to_receipt.quantile(0.5)),
        "receipt_p99_ms": _ms(ledger.submit_to_receipt.quantile(0.99)),
        "complete": responses + ledger.uncertain + ledger.refused >= messages * segments
        and (not receipts or ledger.receipts_matched + ledger.receipts_waiting >= ledger.accepted),
    }


def _ms(us: float | None) -> float | None:
    return None if us is None else round(us / 1000, 4)


@click.group()
def bench() -> None:
    """Measure this machine; each command prints one JSON object."""


@bench.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), required=True)
@click.option("--system-id", default="bench", show_default=True)
@click.option("--password", default="bench", show_default=True)
@click.option("--binds", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option("--window", type=click.IntRange(1, 65536), default=100, show_default=True)
@click.option("--messages", type=click.IntRange(1), default=100_000, show_default=True)
@click.option("--receipts", is_flag=True, help="Ask for receipts and wait for all of them.")
@click.option(
    "--tps", type=click.IntRange(0, 10_000_000), default=0, show_default=True, help="PDUs a second; 0 = no limit."
)
@click.option("--text", default=TEXT, help="Text of every message.")
@click.option("--timeout", "timeout_s", type=Finite(1), default=120.0, show_default=True, help="Give up after.")
@click.option("--json", "as_json", is_flag=True, help="Print nothing but the JSON object.")
def client(
    host: str,
    port: int,
    system_id: str,
    password: str,
    binds: int,
    window: int,
    messages: int,
    receipts: bool,
    tps: int,
    text: str,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Run the client pool against any SMSC, without Postgres."""
    section = {
        "host": host,
        "port": port,
        "system_id": system_id,
        "password": password,
        "binds": binds,
        "window": window,
        "tps": tps,
        "long_password": True,
    }
    with said_plainly():
        result = app.run(run_client(carrier_of(section), messages, receipts, text, timeout_s))
    click.echo(json.dumps(result))
    if not as_json:
        click.echo(
            f"{result['rate']:,.0f} messages/s, {result['cpu_us_per_message']:.3f} us of CPU a message", err=True
        )
    if not result["complete"]:
        sys.exit(1)


@bench.command()
@click.option("--messages", type=click.IntRange(1, 10_000_000), default=100_000, show_default=True)
@click.option("--binds", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option("--window", type=click.IntRange(1, 65536), default=1000, show_default=True)
@click.option("--receipts", is_flag=True, help="Ask for receipts and wait until all are matched.")
@click.option("--gate", "is_gated", is_flag=True, help="Ask the gate about everybody: consent, a cap of a week, hours.")
@click.option(
    "--tps", type=click.IntRange(0, 10_000_000), default=0, show_default=True, help="PDUs a second; 0 = no limit."
)
@click.option("--dsn", default="", help="A Postgres of yours; without it one is started for the run.")
@click.option("--timeout", "timeout_s", type=Finite(1), default=300.0, show_default=True, help="Give up after.")
@click.option("--json", "as_json", is_flag=True, help="Print nothing but the JSON object.")
def life(
    messages: int,
    binds: int,
    window: int,
    receipts: bool,
    is_gated: bool,
    tps: int,
    dsn: str,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Run whole lives: enqueue, claim, submit, response, receipt, matched; durable, against a simulator of its own."""
    with said_plainly():
        if dsn and (problem := dsn_problem("--dsn", dsn)):
            raise ConfigError([problem])
        result = app.run(run_life(messages, binds, window, receipts, dsn, tps, timeout_s, is_gated))
    click.echo(json.dumps(result))
    if not as_json:
        click.echo(
            f"{result['rate']:,.0f} messages/s, {result['cpu_us_per_message']:.2f} us of CPU a message", err=True
        )
    if not result["complete"]:
        sys.exit(1)
