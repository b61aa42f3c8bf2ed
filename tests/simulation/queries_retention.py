"""What is kept for how long (sql/retention.sql): here all of it is, since lives are short; nobody has the job."""

from tests.simulation.queries import Result, model
from tests.simulation.tables import Transaction


@model("take_job", "epoch")
def take_job(_tx: Transaction, _name: str, _owner: str) -> Result:
    """Nobody is given the job."""
    return []


@model("is_rolled", "exists")
def is_rolled(_tx: Transaction, _run_id: int) -> Result:
    """Nothing was rolled."""
    return [(False,)]
