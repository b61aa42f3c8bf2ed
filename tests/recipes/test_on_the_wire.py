"""Recipes from the event to the handset: a real worker, a real socket, and the right text on the wire."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway import app, recipe
from gateway.app import Database
from gateway.product import Product
from gateway.simulator import behaviour
from gateway.simulator.ledger import read
from gateway.simulator.smsc import Smsc
from gateway.store import products
from tests.fixtures.engine import until
from tests.fixtures.shop import Shop, settings_of

ANN, BOB = 447700900001, 447700900002
# Recipes that begin by an event and wait for nothing, of a class that is sent at any hour.
TOLD: Mapping[str, tuple[str, Mapping[str, Any], str]] = {
    "order_confirmed": (
        "order_placed",
        {"order_id": "A-1", "total": 60, "currency": "EUR", "receipt_url": "https://shop.example/r/1"},
        "Acme: thank you! Order A-1, 60 EUR, is confirmed. Receipt: https://shop.example/r/1",
    ),
    "delayed": (
        "shipment_updated",
        {"order_id": "A-1", "status": "delayed", "eta": "2026-03-06"},
        "Acme: order A-1 is late, we are sorry. It comes on 06 Mar.",
    ),
    "login_code": (
        "login_code_requested",
        {"code": "482913"},
        "Acme: 482913 is your code. It is good for 5 minutes. Nobody of us asks you for it.",
    ),
    "payment_received": (
        "payment_received",
        {"order_id": "A-1", "amount": 60, "currency": "EUR"},
        "Acme: we have received 60 EUR for A-1. Thank you.",
    ),
    "quiz": (
        "keyword",
        {"word": "quiz"},
        "Acme quiz, 1 of 2: what is coffee made of? A leaves, B beans, C roots",
    ),
    "back_in_stock": (
        "product_restocked",
        {"product": "cap", "name": "Red cap"},
        "Acme: Red cap is back in stock: https://go.acme.example/",
    ),
}


def texts_in(ledger: Path) -> list[tuple[str, str]]:
    """Whom the carrier was given which text for; these texts are of letters that stand for themselves in GSM 03.38."""
    return [(one.destination, bytes.fromhex(one.content).decode("ascii")) for one in read(ledger)]


@pytest.mark.covers("S4.13", "S4.14", "S4.17", "S4.18", "S4.25", "S4.80")
async def test_recipes_are_texts_on_the_wire_and_a_code_is_in_no_log(
    dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """S4.80: not logged in clear; of two people only the one whom it happened to is written to."""
    ledger = tmp_path / "ledger"
    wanted = behaviour.Settings(seed=1, ledger=str(ledger), ledger_text=True, carrier=(behaviour.Carrier(),))
    caplog.set_level("DEBUG")
    async with Smsc(wanted) as smsc:
        settings = settings_of(dsn, str(tmp_path), port=smsc.port, system_id="test", password="x")
        brand = msgspec.structs.replace(settings.brands["acme"], link_domain="go.acme.example")
        settings = msgspec.structs.replace(settings, brands={"acme": brand})
        shop = await Shop.open(dsn, settings)
        shop.now = datetime.now(UTC)
        await shop.people([ANN, BOB])
        await products.write(shop.connection, [Product(id="cap", name="Red cap")], shop.now)
        for name in TOLD:
            [one] = recipe.named(name)
            await shop.apply(recipe.files_of(one, {"brand": "acme"})[f"{name}.toml"])
        # Who turned the jobs by hand is gone: the worker takes them.
        await shop.connection.execute("DELETE FROM worker WHERE instance = 'shop'")
        async with app.open_worker(settings, Database(dsn, None, settings), chance=random.Random(1)):
            for event, properties, _ in TOLD.values():
                await shop.tells(ANN, event, properties, at=datetime.now(UTC))
            await until(lambda: smsc.totals()["submits"] >= len(TOLD), "all were submitted", patience_s=60.0)
        shop.close()
    got = texts_in(ledger)
    for _, _, text in TOLD.values():
        assert sum(text in said for _, said in got) == 1, (text, got)
    assert {number for number, _ in got} == {str(ANN)} and len(got) == len(TOLD)
    assert "482913" not in caplog.text
