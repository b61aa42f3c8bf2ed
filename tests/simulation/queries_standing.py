"""Which history the simulated server writes (sql/standing.sql): one that is never left, for it has no standby."""

from tests.simulation.queries import Result, model
from tests.simulation.tables import Transaction


@model(
    "standing",
    "system",
    "timeline",
    "lsn",
    "is_standby",
    "version",
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "missing_grant",
    "database",
    "xid_age",
)
def standing(tx: Transaction) -> Result:
    """A primary on its first timeline; it loses nothing that was acknowledged, so how far it is does not matter."""
    return [(1, "00000001", 0, False, 180000, "on", "on", "on", "", "world", 0)]


@model("timeline_history", "pg_read_file")
def timeline_history(tx: Transaction, timeline: str) -> Result:
    """The first timeline comes from none."""
    return [("",)]


@model("bloated", "name", "dead", "live")
def bloated(tx: Transaction, dead: int, times: int) -> Result:
    """Nothing dead is kept."""
    return []
