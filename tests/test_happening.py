"""Events that are looked for: addresses and keys, the same in Python as in Postgres."""

from typing import Any

import pytest

from gateway.happening import is_at, like, value_at


@pytest.mark.covers("S2.14", "S2.23")
@pytest.mark.parametrize(
    ("pattern", "address", "fits"),
    [
        ("https://a.example/thanks", "https://a.example/thanks", True),
        ("https://a.example/thanks", "https://a.example/thanks/", True),
        ("https://a.example/thanks/", "https://a.example/thanks", True),
        ("https://a.example/thanks", "https://a.example/thanks?id=3#top", True),
        ("https://a.example/thanks", "https://a.example/thanks2", False),
        ("https://a.example/p/*", "https://a.example/p/shoes?x=1", True),
        ("https://a.example/p/*", "https://a.example/q/shoes", False),
        ("*/thanks", "https://b.example/thanks", True),
        ("https://a.example/s?q=*", "https://a.example/s?q=shoes", True),
        ("https://a.example/s?q=*", "https://a.example/s", False),
        ("https://a.example/a.b", "https://a.example/aXb", False),
        ("https://a.example/a_b", "https://a.example/aXb", False),
        ("https://a.example/", None, False),
    ],
)
async def test_pattern_fits_as_in_postgres(dsn: str, pattern: str, address: Any, fits: bool) -> None:
    assert is_at(pattern, address) is fits
    if address is None:
        return
    import asyncpg

    connection = await asyncpg.connect(dsn)
    bare = "$1::text"
    for letter in "#?":
        if letter not in pattern:
            bare = f"split_part({bare}, '{letter}', 1)"
    found = await connection.fetchval(f"SELECT regexp_replace({bare}, '/$', '') LIKE $2::text", address, like(pattern))
    await connection.close()
    assert found is fits


@pytest.mark.parametrize(
    ("key", "value"), [("a", "1"), ("b.c", "x"), ("b", ""), ("d", "true"), ("e", ""), ("none", ""), ("a.b", "")]
)
def test_value_of_a_key_is_text(key: str, value: str) -> None:
    assert value_at({"a": 1, "b": {"c": "x"}, "d": True, "e": None}, key) == value
