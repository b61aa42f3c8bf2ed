"""The chain of a number: what its hash covers, and that nothing in it can be changed unseen."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from gateway.consent import NO_HASH, Fact, chain, faults_of, hash_of, microseconds

AT = datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC)
FACT = Fact(
    number=1, brand="acme", class_="promotional", action="grant", source="form", recorded_at=AT, effective_at=AT
)
OTHER: dict[str, Any] = {
    "number": 2, "brand": "b", "class_": "night", "action": "revoke", "source": "api",
    "recorded_at": AT.replace(microsecond=2), "effective_at": None, "method": "m", "wording": "w",
    "wording_version": "2", "url": "u", "ip": "i", "agent": "a", "message_id": 1, "entry": 1, "proof": b"p",
}  # fmt: skip


@pytest.mark.parametrize("field", Fact.__struct_fields__)
def test_cn_1_a_hash_covers_every_field(field: str) -> None:
    changed = msgspec.structs.replace(FACT, **{field: OTHER[field]})
    assert hash_of(changed, 1, NO_HASH) != hash_of(FACT, 1, NO_HASH)


def test_cn_1_a_hash_covers_the_place_and_the_row_before() -> None:
    assert len({hash_of(FACT, 1, NO_HASH), hash_of(FACT, 2, NO_HASH), hash_of(FACT, 1, b"\1" * 32)}) == 3


def test_cn_1_a_chain_is_whole_as_it_was_made_and_when_it_was_continued() -> None:
    first = chain([FACT, FACT], 0, NO_HASH)
    links = [*first, *chain([FACT], first[-1].id, first[-1].hash)]
    assert faults_of(links, 3, links[-1].hash) == [] == faults_of([], 0, NO_HASH)
    assert faults_of(links, 2, links[1].hash) and faults_of(links[:2], 3, links[-1].hash)


def test_times_are_whole_microseconds_however_far_away() -> None:
    assert microseconds(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == 253_402_300_799_999_999
