"""How fast runs go (sql/rates.sql): what a worker asks for when it claims and when it takes."""

from collections.abc import Sequence
from datetime import datetime

from tests.simulation.queries import Result, columns_of, model, rows_of
from tests.simulation.tables import Transaction, Values, Waiting

COLUMNS = (
    "run", "plan", "total", "per_s", "credit", "credit_at", "granted", "goes_to", "stage", "held_since", "is_told",
    "started_at", "skipped", "spent", "looked_at", "is_over",
)  # fmt: skip
CREDIT = ("run", "per_s", "credit", "credit_at", "granted", "goes_to")


@model("rate_plan_of", *COLUMNS)
def rate_plan_of(tx: Transaction, run: int) -> Result:
    """Read the plan of a run."""
    return columns_of([one for _, one in tx.table("rate_plan").rows(tx) if one["run"] == run], *COLUMNS)


@model("lock_rate_plans", *CREDIT)
def lock_rate_plans(tx: Transaction, runs: Sequence[int]) -> Waiting:
    """Hold the credit of some runs."""
    held = yield from tx.lock(rows_of(tx, "rate_plan", [(run,) for run in sorted(runs)]))
    return columns_of([tx.sees(row) for row in held], *CREDIT)


@model("grant_rates", tag="UPDATE")
def grant_rates(
    tx: Transaction, runs: Sequence[int], credits: Sequence[float], granted: Sequence[int], now: datetime
) -> Waiting:
    """Note what was granted; the first grant begins the run."""
    by_run = dict(zip(runs, zip(credits, granted, strict=True), strict=True))

    def new(before: Values) -> Values:
        credit, n = by_run[before["run"]]
        began = before["started_at"] or (now if n > 0 else None)
        return {"credit": credit, "credit_at": now, "granted": n, "started_at": began}

    yield from tx.update(rows_of(tx, "rate_plan", [(run,) for run in runs]), lambda one: True, new)
    return []
