"""What the commands of operators share."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.commands import _control
from gateway.store.control import Order
from tests.fixtures.campaign import numbers
from tests.fixtures.engine import engine


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400)]
)  # fmt: skip
def test_length_of_time_has_its_unit(text, seconds):
    assert _control.Span().convert(text, None, None) == timedelta(seconds=seconds)


def test_whoever_gives_an_order_is_named_though_nobody_knows_the_user(monkeypatch):
    def nobody():
        raise KeyError("uid not found")

    monkeypatch.setattr(_control.getpass, "getuser", nobody)
    assert _control.whoever().startswith("uid ")


def test_order_is_said_with_its_end_and_its_reason():
    at = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
    order = Order(
        id=1, at=at, by="ann@here", action="pause", scope="country", key="DE",
        until=at + timedelta(minutes=5), reason="asked",
    )  # fmt: skip
    assert _control.said(order) == (
        "country DE: paused since 2026-11-22 01:02:03 UTC by ann@here, until 2026-11-22 01:07:03 UTC: asked"
    )


async def test_worker_that_has_not_heard_of_an_order_is_named(dsn: str, tmp_path: Path) -> None:
    async with engine(dsn, tmp_path / "ledger.csv") as e:
        assert "those that start" in await _control.obeyed(e.connection, [1], 0.0)
        worker = await e.start()
        assert await _control.obeyed(e.connection, [999], 0.1) == f"not obeyed yet by {worker.instance}"
        assert await _control.obeyed(e.connection, []) == "obeyed by 1 worker"


async def test_sender_of_a_message_that_waits_is_known_though_no_settings_name_it(dsn: str, tmp_path: Path) -> None:
    async with engine(dsn, tmp_path / "ledger.csv") as e:
        await e.run(numbers(3))
        await e.connection.execute("UPDATE chunk SET source = 'Brand'")
        assert await _control.keys_of(e.connection, e.settings(), "sender", "Brand") == ["Brand"]
