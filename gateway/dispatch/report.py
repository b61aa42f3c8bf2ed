"""What a worker tells of itself: the JSON in its row of `worker`, for `sluice status`, `top` and who else reads it.

Read every two seconds, and from counters alone: nothing of it is kept for the report.
Not here: when it is written (worker.py), figures for Prometheus (gateway/metrics.py), how it is shown (commands/).
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.dispatch.control import Control
from gateway.dispatch.guards import Guards
from gateway.dispatch.lane import Lane
from gateway.dispatch.slots import Slots
from gateway.dispatch.stops import Feed
from gateway.smpp import status as statuses
from gateway.store import migrate


class Report:
    """The report of one worker.

    lanes  as they are at the moment of each report
    """

    def __init__(self, lanes: Sequence[Lane], control: Control, guards: Guards, slots: Slots, feed: Feed):
        self._lanes = lanes
        self._control = control
        self._guards = guards
        self._slots = slots
        self._feed = feed

    def text(self) -> str:
        """The whole of it, as JSON."""
        return msgspec.json.encode(
            {
                "schema": migrate.known(),
                "carriers": {lane.name: self._carrier(lane) for lane in self._lanes},
                "control": {"orders": sorted(self._control.state.ids), "trouble": self._control.trouble},
                "guards": self._guards.report(),
                "stops": self._feed.report(),
            }
        ).decode()

    def gist(self) -> tuple[Any, ...]:
        """What is told at once when it has changed: every bind's phase and last error, orders obeyed, a hold."""
        binds = [(bind.phase.value, bind.last_error) for lane in self._lanes for bind in lane.carrier.binds]
        return (*binds, self._control.state.ids, self._guards.hold)

    def _carrier(self, lane: Lane) -> dict[str, Any]:
        carrier, ledger = lane.carrier, lane.carrier.ledger
        dispatcher = lane.dispatcher
        away = lane.settlement.last_error or lane.intents.last_error or dispatcher.last_error or dispatcher.unreturned
        told = {
            "up": carrier.is_up,
            "rate_per_s": round(lane.intents.rate_per_s, 1),
            "claimed": carrier.backlog.unsent,
            "in_flight": carrier.in_flight,
            "window": carrier.window_size,
            "account": msgspec.structs.asdict(carrier.account()),
            "held_chunks": lane.dispatcher.held,
            "slots": self._slots.report(lane.name),
            "receipts": _receipts(lane),
            "encoding": {"transliterated": ledger.transliterated, "segments_saved": ledger.segments_saved},
            "trouble": f"Postgres: {away}" if away else "",
            "control": self._control.report(lane.name),
            "answers": {"all": ledger.responses, "throttled": ledger.throttled},
            "statuses": {statuses.name(value): n for value, n in ledger.refusals().items()},
            "alarm": carrier.alarm,
            "binds": [msgspec.structs.asdict(bind) for bind in carrier.reports()],
        }
        if lane.queries is not None:
            told["queries"] = lane.queries.report()
        return told


def _receipts(lane: Lane) -> dict[str, Any]:
    """Receipts heard and matched since the start, how, and how long after the submit they came."""
    ledger, rescue = lane.carrier.ledger, lane.rescue
    p50_us, p99_us = (ledger.submit_to_receipt.quantile(q) for q in (0.5, 0.99))
    return {
        "heard": ledger.receipts_matched + ledger.receipts_waiting,
        "matched": lane.receipts_matched,
        "p50_ms": None if p50_us is None else p50_us / 1e3,
        "p99_ms": None if p99_us is None else p99_us / 1e3,
        "rule": ledger.recall.rule,
        "strays": ledger.recall.strays,
        "rule_changes": ledger.recall.changes,
        "nameless": ledger.nameless,
        "waited": ledger.receipts_waiting,
        "matched_later": rescue.matched,
        "adopted": rescue.adopted,
        "contested": rescue.contested,
        "orphaned": rescue.orphaned,
    }
