"""What so many messages a day need: cores, nodes, disk, network and binds, reckoned from the figures of scale.toml.

    rate   = messages a day / hours in which they are sent;  segments/s = rate × segments
    cores  = segments/s × µs of CPU a segment / the part of a core that is used
    disk   = (segments × (outcome + receipt) + payload) × days that they are kept, and results for twice as long

A figure says itself whether it was measured. What follows from several is arithmetic, however well those were measured.
Not here: how fast one carrier's account lets messages go (smpp/capacity.py).
"""

import functools
import importlib.resources
import math
import tomllib
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.smpp.capacity import binds_for

# Of one server of the database; a worker is one process with one loop, and uses one core and no more.
CORES_OF_NODE = 16
DISK_GB_OF_NODE = 8000
# The job that rolls rests after each step for as long as it took (dispatch/retention.py).
ROLLING_S_PER_DAY = 86_400 / 2


class Figure(Struct, frozen=True, forbid_unknown_fields=True):
    """One figure, what it counts, and where it comes from."""

    value: float
    unit: str
    how: Literal["measured", "arithmetic"]
    source: str


class Load(Struct, frozen=True, kw_only=True):
    """What is asked for.

    segments        of a message, in the mean
    receipts        of a segment, in the mean
    peak_hours      in which the messages of a day are sent, evenly
    retention_days  for which outcomes, receipts and payload are kept; chunks and results twice as long
    """

    messages_per_day: int
    segments: float = 1.2
    receipts: float = 1.0
    peak_hours: float = 8.0
    retention_days: int = 30


class Need(Struct, frozen=True, kw_only=True):
    """What it takes, at the peak.

    postgres_cores   over all nodes, with room left
    workers          processes that send
    nodes            of Postgres: 1 = one plain server; more: Citus nodes, the coordinator left out
    nodes_by         what decides how many they are: cores, disk, or that no single server was seen at this rate
    disk_gb          over all nodes; replicas take as much again
    roll_s_per_day   CPU seconds a day in which yesterday is rolled up
    smpp_mbit_per_s, store_mbit_per_s  both ways together
    binds            with the window and response time given
    is_seen          the rate is not above the one that was measured
    """

    messages_per_s: float
    segments_per_s: float
    postgres_cores: float
    worker_cores: float
    workers: int
    nodes: int
    nodes_by: str
    disk_gb_per_day: float
    disk_gb: float
    roll_s_per_day: float
    smpp_mbit_per_s: float
    store_mbit_per_s: float
    binds: int
    is_seen: bool


@functools.cache
def figures() -> dict[str, Figure]:
    """Every figure by its name."""
    text = importlib.resources.files("gateway").joinpath("scale.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Figure])


def need(
    load: Load,
    *,
    window: int,
    rtt_s: float,
    node_cores: int = CORES_OF_NODE,
    node_disk_gb: int = DISK_GB_OF_NODE,
) -> Need:
    """Reckon what a load takes.

    window, rtt_s             of a bind
    node_cores, node_disk_gb  of one server of the database
    raises                    ValueError on figures that no load has
    """
    if load.messages_per_day < 1 or load.segments < 1 or not 0 < load.peak_hours <= 24 or load.receipts < 0:
        raise ValueError(
            f"expected messages, segments and receipts of a day of at most 24 hours, found {load.messages_per_day}, "
            f"{load.segments:g}, {load.receipts:g}, {load.peak_hours:g} h"
        )
    if min(load.retention_days, window, node_cores, node_disk_gb) < 1:
        raise ValueError(
            f"expected days, window, cores and disk of at least 1, "
            f"found {load.retention_days}, {window}, {node_cores}, {node_disk_gb}"
        )
    known = {name: figure.value for name, figure in figures().items()}
    per_s = load.messages_per_day / (load.peak_hours * 3600)
    segments_per_s = per_s * load.segments
    # Of a message without a receipt less is known than of one with: it counts as much.
    cores = segments_per_s * known["postgres_us"] / 1e6 / known["headroom"]
    worker_cores = segments_per_s * known["worker_us"] / 1e6 / known["headroom"]
    day = load.messages_per_day * (
        load.segments * (known["outcome_octets"] + load.receipts * known["receipt_octets"]) + known["payload_octets"]
    )
    # The days that are kept, and today.
    kept = day * (load.retention_days + 1) + load.messages_per_day * known["result_octets"] * 2 * load.retention_days
    disk_gb = kept * known["disk_factor"] / 1e9
    is_seen = segments_per_s <= known["whole_per_s"]
    nodes, nodes_by = 1, "cores"
    if not is_seen or cores > node_cores or disk_gb > node_disk_gb:
        cores *= known["citus_factor"]
        by = {"rate": 2, "cores": math.ceil(cores / node_cores), "disk": math.ceil(disk_gb / node_disk_gb)}
        nodes_by = max(by, key=lambda name: by[name])
        nodes = by[nodes_by]
    return Need(
        messages_per_s=per_s,
        segments_per_s=segments_per_s,
        postgres_cores=cores,
        worker_cores=worker_cores,
        workers=max(1, math.ceil(worker_cores)),
        nodes=nodes,
        nodes_by=nodes_by,
        disk_gb_per_day=day / 1e9,
        disk_gb=disk_gb,
        roll_s_per_day=load.messages_per_day * known["roll_us"] / 1e6,
        smpp_mbit_per_s=segments_per_s * known["smpp_octets"] * 8 / 1e6,
        store_mbit_per_s=segments_per_s * known["store_octets"] * 8 / 1e6,
        binds=binds_for(segments_per_s, rtt_s, window),
        is_seen=is_seen,
    )


def said(load: Load, found: Need, *, window: int, rtt_s: float) -> list[str]:
    """Say it in words, a line for each thing that is needed, and one for each that is not so plain."""
    known = figures()
    kind = "one Postgres and a replica"
    if found.nodes > 1:
        kind = f"a coordinator and {found.nodes} Citus nodes, for their {found.nodes_by}, and replicas"
    lines = [
        f"rate      {found.messages_per_s:,.0f} messages/s, {found.segments_per_s:,.0f} segments/s: "
        f"{load.messages_per_day:,} a day in {load.peak_hours:g} h, {load.segments:g} segments each",
        f"database  {found.postgres_cores:.1f} cores at {known['headroom'].value:.0%} use: {kind}",
        f"workers   {found.workers}, {found.worker_cores:.1f} cores",
        f"disk      {found.disk_gb:,.0f} GB: {found.disk_gb_per_day:,.1f} GB a day for {load.retention_days} days and "
        f"today, times {known['disk_factor'].value:g} for WAL and vacuum; replicas as much again",
        f"rolling   {found.roll_s_per_day:,.0f} s of CPU a day",
        f"network   {found.smpp_mbit_per_s:,.0f} Mbit/s to carriers, {found.store_mbit_per_s:,.0f} Mbit/s to Postgres",
        f"binds     {found.binds:,}, of window {window} at {rtt_s * 1e3:g} ms",
    ]
    if found.roll_s_per_day > ROLLING_S_PER_DAY:
        lines.append(f"too much  one job rolls, at most {ROLLING_S_PER_DAY:,.0f} s a day: the disk would fill")
    if not found.is_seen:
        lines.append(f"unseen    {known['whole_per_s'].value:,.0f}/s is the most that was measured; this is arithmetic")
    return lines
