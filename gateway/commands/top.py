"""`sluice top`: how carriers and binds stand, what waits, what is wrong, and why it is no faster. It looks, and changes
nothing but how often workers report.

    reports of the living workers ─► one row a carrier: rates summed, response times the worst, states of all
    queue, orders                 ─► beside it
Not here: the figures themselves (dispatch/worker.py, smpp/flow.py), the same for Prometheus (metrics.py).
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gateway import app
from gateway.commands._control import said
from gateway.commands._options import Finite, config_option, dsn_option, plain, said_plainly, settings_of
from gateway.commands.status import Standing, look, look_through
from gateway.config import Settings
from gateway.errors import StoreError
from gateway.message import MessageClass
from gateway.store import control, migrate

# Columns of what is written to a file or a pipe.
WIDE = 200


def picture(standing: Standing) -> dict[str, Any]:
    """What is known at one moment, as one document: what `--json` prints.

    Of several workers rates, windows and counts are sums; response times and the delay of receipts are the worst of
    theirs, since percentiles do not add up.
    """
    told = {
        worker.instance: json.loads(worker.report) for worker in standing.workers if worker.instance in standing.alive
    }
    parts: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for instance, report in told.items():
        for name, carrier in report.get("carriers", {}).items():
            parts.setdefault(name, []).append((instance, carrier))
    carriers = {name: _carrier(of) for name, of in parts.items()}
    for queue in standing.queues:
        name = standing.names.get(queue["lane"], str(queue["lane"]))
        carrier = carriers.setdefault(name, _carrier([]))
        carrier["queue"].append(
            {
                "class": MessageClass(queue["class"]).name.lower(),
                "messages": queue["positions"],
                "oldest_s": max(0.0, (standing.at - queue["oldest"]).total_seconds()),
            }
        )
    return {
        "at": standing.at.isoformat(),
        "workers": [
            {
                "instance": worker.instance,
                "alive": worker.instance in standing.alive,
                "node": worker.node,
                "place": worker.place,
                "seen_s_ago": (standing.at - worker.seen_at).total_seconds(),
                "trouble": told.get(worker.instance, {}).get("control", {}).get("trouble", ""),
            }
            for worker in standing.workers
        ],
        "orders": [
            {"scope": one.scope, "key": one.key, "action": one.action, "since": one.at.isoformat(), "by": one.by,
             "until": one.until.isoformat() if one.until else None, "reason": one.reason, "said": said(one)}
            for one in standing.orders
        ],
        "carriers": dict(sorted(carriers.items())),
    }  # fmt: skip


def _carrier(of: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Put together what workers say of one carrier."""
    accounts = [one["account"] for _, one in of]
    binds = [{"worker": instance, **bind} for instance, one in of for bind in one["binds"]]
    submitting = [bind for bind in binds if bind["kind"] != "bind_receiver"]
    receipts = [one["receipts"] for _, one in of]
    statuses: dict[str, int] = {}
    for _, one in of:
        for name, count in one["statuses"].items():
            statuses[name] = statuses.get(name, 0) + count
    sent = sum(account["sent_per_s"] for account in accounts)
    heard, matched = sum(each["heard"] for each in receipts), sum(each["matched"] for each in receipts)
    alarms = [bind["alarm"] for bind in binds] + [one["alarm"] for _, one in of] + [one["trouble"] for _, one in of]
    alarms += [one["control"].get("trouble", "") for _, one in of]
    return {
        "up": any(one["up"] for _, one in of),
        "stands": next((one["control"]["stands"] for _, one in of if one["control"].get("stands")), ""),
        "tuned": next((one["control"]["tuned"] for _, one in of if one["control"].get("tuned")), {}),
        "sent_per_s": sent,
        "rate_per_s": sum(account["rate_per_s"] for account in accounts),
        "limit_per_s": sum(account["limit_per_s"] for account in accounts),
        "shares": {instance: one["slots"] for instance, one in of if one.get("slots")},
        "in_flight": sum(bind["in_flight"] for bind in submitting),
        "window": sum(bind["window"] for bind in submitting),
        "p50_ms": _worst(account["p50_ms"] for account in accounts),
        "p99_ms": _worst(account["p99_ms"] for account in accounts),
        "throttled_share": sum(a["throttled_share"] * a["sent_per_s"] for a in accounts) / sent if sent else 0.0,
        "statuses": dict(sorted(statuses.items(), key=lambda item: -item[1])),
        "receipts": {
            "heard": heard,
            "matched": matched,
            "match_rate": min(1.0, matched / heard) if heard else None,
            "p50_ms": _worst(each["p50_ms"] for each in receipts),
            "p99_ms": _worst(each["p99_ms"] for each in receipts),
        },
        "verdicts": {instance: one["account"]["verdict"] for instance, one in of},
        "reasons": {instance: list(one["account"]["reasons"]) for instance, one in of},
        "alarms": sorted({alarm for alarm in alarms if alarm}),
        "binds": binds,
        "queue": [],
    }


def _worst(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"


def shown(document: Mapping[str, Any]) -> RenderableType:
    """The document for a person; what strangers wrote is shown without its control characters."""
    living = [worker for worker in document["workers"] if worker["alive"]]
    oldest = max((worker["seen_s_ago"] for worker in living), default=0.0)
    head = f"{document['at'][:19].replace('T', ' ')} UTC   "
    head += f"{len(living)} workers, told {oldest:.0f} s ago" if living else "no worker runs: nothing is sent"
    lines: list[RenderableType] = [Text(head)]
    lines += [
        Text(f"alarm  {worker['instance']}: {plain(worker['trouble'])}") for worker in living if worker["trouble"]
    ]
    lines += [Text(f"order  {order['said']}") for order in document["orders"]]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("carrier", "stands"):
        table.add_column(name, no_wrap=True)
    for name in ("PDUs/s", "limit", "window", "RTT p50", "p99 ms", "throttled", "receipts p50", "p99 ms", "matched"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, one in document["carriers"].items():
        receipts = one["receipts"]
        table.add_row(
            Text(plain(name), style="bold"),
            one["stands"] or ("up" if one["up"] else "down"),
            f"{one['sent_per_s']:,.0f}",
            f"{one['rate_per_s']:,}" if one["rate_per_s"] else "none",
            f"{one['in_flight']}/{one['window']}",
            _ms(one["p50_ms"]),
            _ms(one["p99_ms"]),
            f"{one['throttled_share']:.1%}",
            _ms(receipts["p50_ms"]),
            _ms(receipts["p99_ms"]),
            "-" if receipts["match_rate"] is None else f"{receipts['match_rate']:.2%}",
        )
        for bind in one["binds"]:
            table.add_row(
                Text(f"  {plain(bind['name'])}"),
                bind["phase"],
                f"{bind['sent_per_s']:,.0f}",
                Text(f"by {bind['bound_by']}" if bind["phase"] == "bound" else ""),
                f"{bind['in_flight']}/{bind['window']}",
            )
    lines += [Text(""), table]
    for name, one in document["carriers"].items():
        lines.append(Text(""))
        for instance, verdict in one["verdicts"].items():
            whose = f" on {instance}" if len(one["verdicts"]) > 1 else ""
            lines.append(Text(f"{plain(name)}{whose}: {verdict}"))
            lines += [Text(f"  {reason}") for reason in one["reasons"][instance]]
        if one["tuned"]:
            tuned = ", ".join(f"{key} = {json.dumps(value)}" for key, value in sorted(one["tuned"].items()))
            lines.append(Text(f"  tuned: {tuned}"))
        lines += [Text(f"  alarm: {plain(alarm)}", style="bold") for alarm in one["alarms"]]
        errors = {bind["last_error"] for bind in one["binds"] if bind["last_error"] and bind["phase"] != "bound"}
        lines += [Text(f"  down: {plain(error)}") for error in sorted(errors - set(one["alarms"]))]
        if one["statuses"]:
            refused = ", ".join(f"{status} {count:,}" for status, count in one["statuses"].items())
            lines.append(Text(f"  refused since the start: {refused}"))
        for queue in one["queue"]:
            told = f"{queue['messages']:,}, the oldest {_age(queue['oldest_s'])}"
            lines.append(Text(f"  queue {plain(name)} {queue['class']}: {told}"))
    return Group(*lines)


@click.command()
@config_option
@dsn_option
@click.option("--once", is_flag=True, help="Print once and end.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each look, a line each.")
@click.option("--interval", type=Finite(0.1), default=1.0, show_default=True, help="Seconds between two looks.")
def top(config: Path | None, dsn: str, once: bool, as_json: bool, interval: float) -> None:
    """Show, live, carriers and binds: rate, limit, window, response times, refusals, queue, receipts, what bounds them.

    Ends with Ctrl-C. Where standard output is no terminal it prints once, but for --json, which goes on.
    """
    with said_plainly():
        settings = settings_of(config, dsn)
        if not app.has_database(settings):
            raise StoreError(f"no database in {settings.data_root} yet: nothing was sent from here")
        app.run(watch(settings, once or not (as_json or sys.stdout.isatty()), as_json, interval))


async def watch(settings: Settings, once: bool, as_json: bool, interval: float) -> None:
    """Look once, or until a signal; StoreError when the first look fails, later ones that do are shown."""
    if once:
        document = picture(await look(settings, None, 0))
        if as_json:
            click.echo(json.dumps(document))
        else:
            # A file and a pipe have no width: what stands in the table must not be cut.
            width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE
            Console(highlight=False, width=width).print(shown(document), soft_wrap=True)
        return
    stop = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(app.stop_signals(stop.set))
        database = await stack.enter_async_context(app.open_database(settings, migrates=False))
        await migrate.require(database.dsn)
        connections = database.connections()
        stack.push_async_callback(connections.close)
        live = None
        while not stop.is_set():
            try:
                async with connections.take(settings.database.deadline_s, "top") as connection:
                    await control.watch(connection)
                    document = picture(await look_through(connection, None, 0))
                told: RenderableType = shown(document)
            except StoreError as error:
                if live is None and not as_json:
                    raise
                document, told = {"trouble": str(error)}, Text(f"postgres: {error}")
            if as_json:
                click.echo(json.dumps(document))
            elif live is None:
                live = stack.enter_context(Live(told, screen=True, auto_refresh=False))
            else:
                live.update(told, refresh=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await stop.wait()
