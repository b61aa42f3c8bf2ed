"""The table of the settings, and how carriers stand by what workers say."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.config import CarrierSettings, Settings
from gateway.dispatch.route import health_of, plan_of, table_of
from gateway.errors import ConfigError
from gateway.message import MessageClass
from gateway.routing import RouteCarrier, RouteSettings, RoutingSettings, Standing, decide
from gateway.store.runs import Worker

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def worker(name: str, **carriers: bool) -> Worker:
    """One that says of carriers whether they are up."""
    report = {
        "carriers": {
            each: {"up": up, "binds": [{"last_error": ""}, {"last_error": "" if up else "refused"}]}
            for each, up in carriers.items()
        }
    }
    return Worker(
        instance=name, host="h", boot="b", pid=1, started_at=NOW, seen_at=NOW, report=json.dumps(report)
    )  # fmt: skip


def settings(tmp_path: Path, **how: Any) -> Settings:
    carriers = {name: CarrierSettings(host="h", weight=weight) for name, weight in (("a", 3), ("b", 1))}
    return Settings(carriers=carriers, source=str(tmp_path / "sluice.toml"), **how)


def test_a_carrier_is_up_where_one_worker_has_a_bind_and_absent_where_nobody_serves_it() -> None:
    assert health_of([worker("w1", a=False, b=False), worker("w2", a=True)]) == {
        "a": Standing(True, "up on w2"), "b": Standing(False, "refused"),
    }  # fmt: skip
    assert health_of([worker("w2", a=True), worker("w1", a=False)])["a"].is_up
    assert health_of([]) == {}


def test_carriers_asked_for_by_name_share_by_weight_and_no_route_is_asked(tmp_path: Path) -> None:
    route = RouteSettings(carriers=(RouteCarrier(carrier="b"),))
    made = settings(tmp_path, routes=(route,))
    assert table_of(made).carriers == ("b",) and table_of(made, ["a"]).carriers == ("a",)
    assert not table_of(settings(tmp_path)).has_routes


def test_networks_are_read_beside_the_settings_and_their_faults_are_those_of_the_settings(tmp_path: Path) -> None:
    route = RouteSettings(mccmnc=("23410",), carriers=(RouteCarrier(carrier="a"),))
    made = settings(tmp_path, routes=(route,), routing=RoutingSettings(mccmnc_file="n.csv"))
    with pytest.raises(ConfigError, match="mccmnc_file: expected a readable file"):
        table_of(made)
    (tmp_path / "n.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="no UTF-8"):
        table_of(made)
    (tmp_path / "n.csv").write_text("4477,234,10\nbad\n")
    with pytest.raises(ConfigError, match=r"n\.csv:2: expected prefix,mcc,mnc"):
        table_of(made)
    (tmp_path / "n.csv").write_text("4477,234,10\n")
    assert decide(447700900123, MessageClass.BULK, "", NOW, {}, table_of(made)).carrier == "a"


def test_a_plan_passes_over_who_is_down_now(tmp_path: Path) -> None:
    table = table_of(settings(tmp_path))
    whole = plan_of(table, {"a": 1, "b": 2}, MessageClass.BULK, "", NOW, [worker("w", a=False, b=True)])
    assert {whole.cell_of(number).lane for number in range(447700900000, 447700900100)} == {2}
