"""Answers of carriers page by page; what they come to is proven in tests/automation/test_blocks.py."""

from datetime import timedelta

import pytest

from gateway.store import blocks
from tests.automation.test_blocks import NOW, NUMBER, World, world

__all__ = ["world"]


async def test_more_answers_than_a_page_are_all_counted_also_of_one_moment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "MOST_ANSWERS", 3)
    for at in range(5):
        await world.say(NUMBER + at, err="034", at=NOW + timedelta(milliseconds=at // 2))
    assert await blocks.look(world.connection, world.lane, {"err:034": "carrier"}, NOW + timedelta(seconds=1)) == 5
