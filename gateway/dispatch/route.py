"""What a routing decision needs from outside: the table of the settings, and how the carriers stand.

Not here: the decision itself, which is a function (gateway/routing.py); moving what is queued (failover.py).
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime

from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.message import MessageClass
from gateway.routing import Plan, RouteTable, Standing, plan, read_networks
from gateway.store.runs import Worker


def table_of(settings: Settings, only: Iterable[str] | None = None) -> RouteTable:
    """Make the table of the settings' routes; without routes every carrier has its weight.

    only    carriers that were asked for by name: they share by weight, and no route is asked
    raises  ConfigError: the file of networks cannot be read, or some of its rows
    """
    if only is not None or not settings.routes:
        names = settings.carriers if only is None else only
        weights = {name: settings.carriers[name].weight for name in names}
        return RouteTable(weights, (), settings.senders, settings.routing)
    networks: dict[str, str] = {}
    if settings.routing.mccmnc_file:
        path = settings.beside / settings.routing.mccmnc_file
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            found = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "no UTF-8"
            raise ConfigError([("routing.mccmnc_file", "a readable file in UTF-8", f"{path}: {found}")]) from error
        networks, problems = read_networks(text, path.name)
        if problems:
            raise ConfigError(problems)
    weights = {name: carrier.weight for name, carrier in settings.carriers.items()}
    return RouteTable(weights, settings.routes, settings.senders, settings.routing, networks)


def health_of(living: Iterable[Worker]) -> dict[str, Standing]:
    """How carriers stand by the reports of living workers: up where one has a bind; absent: nobody serves it."""
    found: dict[str, Standing] = {}
    for worker in living:
        for name, carrier in json.loads(worker.report).get("carriers", {}).items():
            if carrier["up"]:
                found[name] = Standing(True, f"up on {worker.instance}")
            elif name not in found:
                errors = (bind["last_error"] for bind in carrier["binds"] if bind["last_error"])
                found[name] = Standing(False, next(errors, "not bound"))
    return found


def plan_of(
    table: RouteTable,
    lanes: Mapping[str, int],
    class_: MessageClass,
    sender: str,
    at: datetime,
    living: Iterable[Worker],
) -> Plan:
    """Plan a run: who takes which numbers, as the carriers stand now."""
    return plan(lanes, class_, sender, at, health_of(living), table)
