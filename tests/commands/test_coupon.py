"""`sluice coupon` as a person meets it: make a pool, fill it, hand its codes out, redeem them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.__main__ import main

OFFER = """
[coupons.spring]
kind = "pool"
discount = {percent = 20}
life = "48h"
url = "https://shop.example/discount/{code}"
"""


def run(dsn: str, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, [*arguments, "--dsn", dsn])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def coupon(dsn: str, *arguments: str) -> tuple[int, str]:
    return run(dsn, "coupon", *arguments)


@pytest.mark.covers("S0.15", "S1.14")
def test_a_pool_is_made_filled_given_away_to_a_list_and_redeemed(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "offer.toml").write_text(OFFER)
    (tmp_path / "codes.csv").write_text("code\nA1\nA2\nA2\nA 3\n")
    assert coupon(dsn, "pool", "create", "spring", str(tmp_path / "offer.toml")) == (
        0, "spring: pool, 20 %, for 48h from the sending on, 0 codes\n"
    )  # fmt: skip
    code, output = coupon(dsn, "pool", "import", "spring", str(tmp_path / "codes.csv"))
    assert code == 1 and "4 rows: 2 added to 'spring', 0 were in it" in output
    assert "duplicate: 1" in output and "line 4: A2, as in line 3" in output and "line 5: A 3" in output
    assert (
        "0 added to 'spring', 2 were in it" in coupon(dsn, "pool", "import", "spring", str(tmp_path / "codes.csv"))[1]
    )
    run(dsn, "list", "add", "vip", "+447700900123", "+447700900124", "+447700900125")
    code, output = coupon(dsn, "pool", "show", "spring", "--people", "3")
    assert code == 1 and "for 1 of 3 people there is no code" in output
    code, output = coupon(dsn, "assign", "spring", "vip")
    assert code == 1 and "2 of 'vip' have a code now" in output and "1 have none" in output
    told = json.loads(coupon(dsn, "pool", "show", "spring", "--json")[1])
    assert told["states"] == {"reserved": 2} and told["total"] == 2
    assert coupon(dsn, "redeem", "a1", "--order", "77") == (0, "A1: redeemed\n")
    assert coupon(dsn, "redeem", "A1", "--order", "77") == (0, "A1: redeemed by this order before\n")
    assert coupon(dsn, "redeem", "A1", "--order", "78") == (1, "A1: refused: used for another order\n")
    assert coupon(dsn, "redeem", "A9", "--order", "78") == (1, "A9: refused: not a code of ours\n")
    assert coupon(dsn, "void", "A2") == (0, "A2 is void, and was reserved\n")
    assert coupon(dsn, "redeem", "A2", "--order", "79") == (1, "A2: refused: void\n")
    assert coupon(dsn, "void", "A1")[0] == 65
    assert coupon(dsn, "pool", "void", "spring") == (0, "0 codes are void\n")


@pytest.mark.covers("S0.15")
def test_a_code_whose_offer_is_over_is_refused_by_the_check(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "offer.json").write_text('{"kind": "static", "code": "XMAS", "until": "2026-01-01"}')
    assert coupon(dsn, "pool", "create", "xmas", str(tmp_path / "offer.json"))[0] == 0
    assert coupon(dsn, "redeem", "xmas", "--order", "1", "--at", "2025-12-31T23:59:59Z") == (0, "XMAS: redeemed\n")
    assert coupon(dsn, "redeem", "xmas", "--order", "2", "--at", "2026-01-01T00:00:00Z") == (
        1, "XMAS: refused: expired on 2026-01-01 00:00:00 UTC\n"
    )  # fmt: skip
    assert "xmas: static, XMAS, until 2026-01-01" in coupon(dsn, "pool", "list")[1]


def test_an_offer_that_cannot_be_is_refused_with_every_place(dsn: str, tmp_path: Path) -> None:
    offer = tmp_path / "offer.toml"
    offer.write_text(OFFER.replace("48h", "two days").replace("{percent = 20}", "{}"))
    code, output = coupon(dsn, "pool", "create", "spring", str(offer))
    assert code == 78 and "coupons.spring.life: expected a length" in output and "coupons.spring.discount" in output
    for text in ("kind = ", '{"kind": "pool", "colour": 1}', OFFER.replace("spring", "autumn")):
        offer.write_text(text)
        assert coupon(dsn, "pool", "create", "spring", str(offer))[0] == 78
    assert coupon(dsn, "pool", "show", "nothing")[0] == 65
    assert coupon(dsn, "assign", "nothing", "vip")[0] == 65
