"""`sluice simulate`: run an SMSC to send to, until a signal or a silence ends it.

The first line on standard output is one JSON object with what listens where; the last, with --json, one with the
totals.
Not here: what the options mean (gateway.simulator.behaviour); each is the setting of its name, for every carrier.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any

import click
import msgspec

from gateway.errors import ConfigError
from gateway.simulator import behaviour
from gateway.simulator.behaviour import RECEIPT_FORMATS, Settings
from gateway.simulator.smsc import Smsc

_SHARE = click.FloatRange(0, 1)
_MS = click.FloatRange(0)

# option, setting of each carrier, type, help
_OPTIONS: tuple[tuple[str, str, Any, str], ...] = (
    ("--host", "host", str, "address to listen on"),
    ("--port", "port", click.IntRange(0, 65535), "0: any that is free"),
    ("--smpp-version", "version", click.Choice(["3.3", "3.4", "5.0"]), "newest version spoken"),
    ("--smsc-id", "system_id", str, "its name in bind responses"),
    ("--first-id", "first_id", click.IntRange(1), "where message ids start"),
    ("--zone-min", "zone_min", int, "minutes its clock is ahead of UTC"),
    ("--limit", "limit.model", click.Choice(["none", "second", "sliding", "gap", "slow"]), "how tps is enforced"),
    ("--limit-status", "limit.status", str, "status of what is over the limit"),
    ("--delay-ms", "responses.delay_ms", _MS, "until a response"),
    ("--jitter-ms", "responses.jitter_ms", _MS, "uniform, on top"),
    ("--late-share", "responses.late_share", _SHARE, "responses out of their turn"),
    ("--late-ms", "responses.late_ms", _MS, "by how much at most"),
    ("--silent-share", "responses.silent_share", _SHARE, "accepted, never answered"),
    ("--error-body", "responses.error_body", click.Choice(["none", "nul", "id"]), "body of a refusal"),
    ("--congestion", "responses.congestion", str, "congestion_state for 5.0: 0..100 or load"),
    ("--response-id", "responses.id", str, "form of ids: decimal, hex, HEX or uuid, and :width"),
    ("--receipts", "receipts.when", click.Choice(["never", "requested", "always"]), "when receipts are sent"),
    ("--receipt-delay-ms", "receipts.delay_ms", _MS, "from response to receipt"),
    ("--receipt-jitter-ms", "receipts.jitter_ms", _MS, "uniform, on top"),
    ("--receipt-format", "receipts.format", str, f"a form, or one of {', '.join(RECEIPT_FORMATS)}"),
    ("--receipt-id", "receipts.id", str, "form of ids in receipts"),
    ("--tlv-id", "receipts.tlv_id", str, "form of ids in receipted_message_id"),
    ("--receipt-esm-class", "receipts.esm_class", click.IntRange(0, 255), "4 by the standard; some send 0"),
    ("--receipt-pdu", "receipts.pdu", click.Choice(["deliver_sm", "data_sm"]), "what carries a receipt"),
    ("--receipt-place", "receipts.place", click.Choice(["short_message", "message_payload"]), "where its text stands"),
    ("--early-share", "receipts.early_share", _SHARE, "receipts before their response"),
    ("--early-ms", "receipts.early_ms", _MS, "by how much"),
    ("--duplicate-share", "receipts.duplicate_share", _SHARE, "receipts sent twice"),
    ("--missing-share", "receipts.missing_share", _SHARE, "receipts never sent"),
    ("--receipt-window", "receipts.window", click.IntRange(0), "receipts in flight on a link"),
    ("--retry-ms", "receipts.retry_ms", _MS, "until a refused receipt is sent again"),
    ("--inbound-per-s", "inbound.per_s", click.FloatRange(0), "messages from handsets, to each account"),
    ("--inbound-parts", "inbound.parts", click.Choice(["udh8", "udh16", "sar"]), "how parts of a long one are marked"),
    ("--inbound-duplicate-share", "inbound.duplicate_share", _SHARE, "parts of theirs that come twice"),
    ("--reply-share", "inbound.reply_share", _SHARE, "messages that a handset replies to"),
    ("--reply-delay-ms", "inbound.reply_delay_ms", _MS, "until the reply"),
    ("--drop-every", "drops.every", click.IntRange(0), "cut a link at every so many messages"),
    ("--drop-share", "drops.share", _SHARE, "cut a link at any message, by chance"),
    ("--session-init-s", "timers.session_init_s", click.FloatRange(0), "until a link must be bound"),
    ("--enquire-link-s", "timers.enquire_link_s", click.FloatRange(0), "silence until we ask; 0: never"),
    ("--inactivity-s", "timers.inactivity_s", click.FloatRange(0), "idle time until we unbind; 0: never"),
)
# option, setting of each account, type, help
_ACCOUNT_OPTIONS: tuple[tuple[str, str, Any, str], ...] = (
    ("--tps", "tps", click.IntRange(0), "messages a second of an account"),
    ("--window", "window", click.IntRange(0), "requests in flight on a link"),
    ("--max-binds", "max_binds", click.IntRange(0), "binds of an account"),
)


def _with_options(command: Any) -> Any:
    for option, _, kind, text in reversed(_OPTIONS + _ACCOUNT_OPTIONS):
        command = click.option(option, type=kind, default=None, help=text)(command)
    return command


def _put(mapping: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for name in path:
        mapping = mapping.setdefault(name, {})
    mapping[last] = value


def _shares(given: tuple[str, ...], option: str) -> dict[str, float]:
    shares: dict[str, float] = {}
    for entry in given:
        name, _, share = entry.rpartition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            name = ""
        if not name:
            raise click.BadParameter(f"expected NAME=SHARE, found {entry!r}", param_hint=option)
    return shares


def settings_of(config: str | None, given: dict[str, Any]) -> Settings:
    """Lay the options over the file, or over one carrier that takes anybody. raises ConfigError, BadParameter."""
    settings = behaviour.load(config) if config else Settings()
    whole = msgspec.to_builtins(settings)
    for key in ("seed", "ledger"):
        if given[key] is not None:
            whole[key] = given[key]
    for key in ("ledger_sync", "ledger_text"):
        whole[key] = whole[key] or given[key]
    accounts = [dict(zip(("system_id", "password"), entry.split(":", 1), strict=False)) for entry in given["account"]]
    for carrier in whole["carrier"]:
        for option, key, _, _ in _OPTIONS:
            value = given[option.removeprefix("--").replace("-", "_")]
            if value is not None:
                _put(carrier, key, int(value) if key == "responses.congestion" and value.isdigit() else value)
        if given["error"]:
            _put(carrier, "responses.errors", _shares(given["error"], "--error"))
        if given["receipt_state"]:
            _put(carrier, "receipts.states", _shares(given["receipt_state"], "--receipt-state"))
        if given["inbound_text"]:
            _put(carrier, "inbound.texts", list(given["inbound_text"]))
        if given["limit_step"]:
            _put(carrier, "limit.steps", [list(step) for step in given["limit_step"]])
        if given["no_receipt_tlvs"]:
            _put(carrier, "receipts.tlvs", False)
        if given["drop_answers_first"]:
            _put(carrier, "drops.answers_first", True)
        if accounts:
            carrier["account"] = [dict(account) for account in accounts]
        elif not config:
            carrier["anybody"] = True
        for account in carrier["account"]:
            for option, key, _, _ in _ACCOUNT_OPTIONS:
                value = given[option.removeprefix("--").replace("-", "_")]
                if value is not None:
                    account[key] = value
            if given["refuse_bind"]:
                account["bind_refusals"] = list(given["refuse_bind"])
    return behaviour.from_mapping(whole)


async def _serve(settings: Settings, ready_fd: int | None, idle_s: float | None) -> dict[str, Any]:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Smsc(settings) as smsc:
        listening = [
            {"carrier": site.carrier.name, "host": site.carrier.host, "port": site.port} for site in smsc.sites
        ]
        line = json.dumps({"listening": listening, "port": smsc.port, "pid": os.getpid()})
        print(line, flush=True)
        if ready_fd is not None:
            os.write(ready_fd, line.encode() + b"\n")
            os.close(ready_fd)
        quiet_since = time.monotonic()
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), None if idle_s is None else max(min(idle_s / 4, 0.5), 0.01))
            except TimeoutError:
                pass
            # Idle: somebody was here, and now there is no link, or no message for so long.
            now = time.monotonic()
            if smsc.last_ns == 0:
                quiet_since = now
            elif smsc.links:
                quiet_since = max(quiet_since, smsc.last_ns / 1e9)
            if idle_s is not None and now - quiet_since >= idle_s and smsc.last_ns:
                break
        return smsc.totals()


def _run(main: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Run on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


@click.command()
@click.option("--config", type=click.Path(dir_okay=False), help="TOML file; the options go over it")
@click.option("--seed", type=int, default=None, help="of all chance")
@click.option("--account", multiple=True, metavar="SYSTEM_ID[:PASSWORD]", help="who may bind; none given: anybody")
@click.option("--refuse-bind", multiple=True, metavar="STATUS", help="answer to an account's first binds, one each")
@click.option("--error", multiple=True, metavar="STATUS=SHARE", help="share of messages refused with it")
@click.option("--receipt-state", multiple=True, metavar="WORD[:ERR]=SHARE", help="how messages end")
@click.option("--limit-step", multiple=True, type=(float, int), metavar="AFTER_S TPS", help="another tps from then on")
@click.option("--no-receipt-tlvs", is_flag=True, help="receipts without receipted_message_id and message_state")
@click.option("--inbound-text", multiple=True, help="what handsets write")
@click.option("--drop-answers-first", is_flag=True, help="write the last answers before a cut")
@click.option("--ledger", type=click.Path(dir_okay=False), default=None, help="file for every message, appended to")
@click.option("--ledger-sync", is_flag=True, help="force it to the disk before answering")
@click.option("--ledger-text", is_flag=True, help="with the octets of messages, not their hash")
@click.option("--json", "as_json", is_flag=True, help="print the totals at the end")
@click.option(
    "--exit-after-idle", type=click.FloatRange(0), default=None, metavar="S", help="end S s after the last one"
)
@click.option("--ready-fd", type=click.IntRange(0), default=None, help="write the first line to this descriptor too")
@_with_options
def simulate(
    config: str | None, as_json: bool, exit_after_idle: float | None, ready_fd: int | None, **given: Any
) -> None:
    """Run an SMSC simulator: accounts, limits, delays, errors, receipts, handsets, cuts; seeded.

    The first line printed is {"listening": [{"carrier", "host", "port"}…], "port": …}.
    """
    try:
        settings = settings_of(config, given)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    try:
        totals = _run(_serve(settings, ready_fd, exit_after_idle))
    except OSError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        json.dump(totals, sys.stdout)
        print(flush=True)
