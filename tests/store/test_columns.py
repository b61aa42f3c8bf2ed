"""Columns as texts that Postgres reads as arrays."""

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.store import columns

TEXT = st.text(st.one_of(st.sampled_from('",\\{} \tNULLé'), st.characters(codec="utf-8", exclude_characters="\0")))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=st.lists(st.integers(-(2**63), 2**63 - 1)), texts=st.lists(TEXT))
async def test_postgres_reads_what_was_written(dsn: str, numbers: list[int], texts: list[str]) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        assert await connection.fetchval("SELECT $1::text::bigint[]", columns.ints(numbers)) == numbers
        assert await connection.fetchval("SELECT $1::text::text[]", columns.texts(texts)) == texts
    finally:
        await connection.close()


def test_texts_of_quotes_alone_are_told_apart_from_the_quotes_between() -> None:
    assert columns.texts(["a", "b"]) == '{"a","b"}'
    assert columns.texts(['"', ""]) == '{"\\"",""}'
