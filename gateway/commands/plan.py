"""`sluice plan`: how long a campaign would take on a carrier, what would hold it up, and what would help.

Response time, limit and binds are those that running workers report, where there are any; each option goes over them.
With --messages-per-day: what machines so many need, whatever the carrier; neither settings nor database are read.
Not here: the formulae (gateway.smpp.capacity, _scale.py).
"""

import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec

from gateway import app
from gateway.commands import _scale
from gateway.commands._options import config_option, dsn_option, said_plainly, say, settings_of
from gateway.commands.status import look
from gateway.config import CarrierSettings
from gateway.smpp import capacity

# Where nobody has measured: a carrier of the same continent.
UNKNOWN_RTT_MS = 50.0
# Of a bind, where no carrier is named: what WorkerSettings and most carriers begin with.
USUAL_WINDOW = 10


def live(reports: Iterable[Mapping[str, Any]], carrier: str) -> dict[str, Any]:
    """Add up what workers say of a carrier.

    ->  of limit, binds, rtt_ms, and of tps_set and window where those are tuned, what is known; the limit is what the
        carrier was found to bear
    """
    accounts: list[Mapping[str, Any]] = []
    tuned: dict[str, Any] = {}
    binds = 0
    for report in reports:
        one = report.get("carriers", {}).get(carrier)
        if one and one.get("account"):
            accounts.append(one["account"])
            binds += sum(bind["phase"] == "bound" and bind["kind"] != "bind_receiver" for bind in one["binds"])
            tuned.update(one.get("control", {}).get("tuned", {}))
    found: dict[str, Any] = {"binds": binds} if binds else {}
    found.update({name: tuned[key] for key, name in (("tps", "tps_set"), ("window", "window")) if key in tuned})
    times = [account["p99_ms"] for account in accounts if account["p99_ms"] is not None]
    if times:
        found["rtt_ms"] = max(times)
    ceilings = [account["ceiling_per_s"] for account in accounts if account["ceiling_per_s"] is not None]
    if ceilings:
        found["limit"] = sum(ceilings)
    return found


def account_of(settings: CarrierSettings, known: Mapping[str, Any], given: Mapping[str, Any]) -> capacity.Account:
    """Lay what was given over what is known, and that over what is set."""
    over = {**known, **{key: value for key, value in given.items() if value is not None}}
    limit = over.get("tps")
    if limit is None:
        limit = min(over.get("tps_set", settings.tps) or math.inf, over.get("limit", math.inf))
    return capacity.Account(
        per_s=0 if math.isinf(limit) else int(limit),
        window=over.get("window", settings.window),
        binds=over.get("binds", settings.binds),
        rtt_s=over.get("rtt_ms", UNKNOWN_RTT_MS) / 1e3,
        engine_per_s=over.get("engine_per_s"),
    )


@click.command()
@config_option
@dsn_option
@click.option("--carrier", help="Name of a carrier of the settings.")
@click.option("--messages", type=click.IntRange(0, 10**12), help="How many.")
@click.option("--parts", type=click.FloatRange(1, 255), default=1.0, show_default=True, help="Segments each, the mean.")
@click.option("--tps", type=click.IntRange(0, 10_000_000), help="What if: PDUs a second; 0: no limit.")
@click.option("--window", type=click.IntRange(1, 65536), help="What if: unanswered requests a bind.")
@click.option("--binds", type=click.IntRange(1, 256), help="What if: binds that submit.")
@click.option("--rtt-ms", type=click.FloatRange(0, 600_000), help="What if: response time, its 99th percentile.")
@click.option("--engine-per-s", type=click.FloatRange(1, 1e9), help="What everything before the socket manages.")
@click.option("--messages-per-day", type=click.IntRange(1, 10**12), help="Instead: what machines so many need.")
@click.option(
    "--segments", type=click.FloatRange(1, 255), default=1.2, show_default=True, help="Of a message, the mean."
)
@click.option(
    "--receipts", type=click.FloatRange(0, 10), default=1.0, show_default=True, help="Of a segment, the mean."
)
@click.option(
    "--peak-hours", type=click.FloatRange(0.01, 24), default=8.0, show_default=True, help="A day's are sent in."
)
@click.option("--retention-days", type=click.IntRange(1, 3650), default=30, show_default=True, help="Single ones kept.")
@click.option("--node-cores", type=click.IntRange(1, 1024), default=16, show_default=True, help="Of a database server.")
@click.option("--node-disk-gb", type=click.IntRange(1, 10**7), default=8000, show_default=True, help="Of one, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plan(
    config: Path | None,
    dsn: str,
    carrier: str | None,
    messages: int | None,
    parts: float,
    as_json: bool,
    messages_per_day: int | None,
    segments: float,
    receipts: float,
    peak_hours: float,
    retention_days: int,
    node_cores: int,
    node_disk_gb: int,
    **given: float | None,
) -> None:
    """Print window, binds, finish time and bottleneck of a campaign, with the reasoning; nothing is changed."""
    if messages_per_day is not None:
        if carrier is not None or messages is not None:
            raise click.UsageError("--messages-per-day is about machines: it goes without --carrier and --messages")
        load = _scale.Load(
            messages_per_day=messages_per_day, segments=segments, receipts=receipts, peak_hours=peak_hours,
            retention_days=retention_days,
        )  # fmt: skip
        window, rtt_s = int(given["window"] or USUAL_WINDOW), UNKNOWN_RTT_MS / 1e3
        if given["rtt_ms"] is not None:
            rtt_s = given["rtt_ms"] / 1e3
        needed = _scale.need(load, window=window, rtt_s=rtt_s, node_cores=node_cores, node_disk_gb=node_disk_gb)
        if as_json:
            click.echo(json.dumps({"load": msgspec.to_builtins(load), **msgspec.to_builtins(needed)}))
        else:
            for line in _scale.said(load, needed, window=window, rtt_s=rtt_s):
                click.echo(line)
        return
    if carrier is None or messages is None:
        raise click.UsageError("expected --carrier and --messages, or --messages-per-day")
    with said_plainly():
        settings = settings_of(config, dsn)
        chosen = settings.carrier(carrier)
        known: dict[str, Any] = {}
        now = datetime.now(UTC)
        if app.has_database(settings):
            standing = app.run(look(settings, None, 0))
            known = live(
                (json.loads(worker.report) for worker in standing.workers if worker.instance in standing.alive), carrier
            )
    account = account_of(chosen, known, given)
    found = capacity.plan(account, messages, parts)
    if given["rtt_ms"] is None:
        where = "as workers report it" if "rtt_ms" in known else "assumed: no worker has measured it lately; --rtt-ms"
        say(f"response time {account.rtt_s * 1e3:g} ms, {where}")
    if as_json:
        document = {"carrier": carrier, "account": msgspec.to_builtins(account), **msgspec.to_builtins(found)}
        for key in ("per_s", "seconds"):
            document[key] = document[key] if math.isfinite(getattr(found, key)) else None
        click.echo(json.dumps(document))
        return
    for reason in found.reasons:
        click.echo(f"  {reason}")
    if math.isinf(found.per_s):
        click.echo(f"{carrier}: nothing that is known holds it up")
        return
    ends = now + timedelta(seconds=found.seconds)
    click.echo(
        f"{carrier}: {found.per_s:,.0f} PDUs/s, {found.bottleneck}-bound; "
        f"{timedelta(seconds=math.ceil(found.seconds))}, until {ends:%Y-%m-%d %H:%M} UTC if it begins now"
    )
