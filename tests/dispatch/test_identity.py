"""Who of the registered workers is known to be gone."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from gateway.dispatch.identity import Identity, is_dead, is_gone
from gateway.store import runs

NOW = datetime(2026, 11, 22, tzinfo=UTC)
OURS, LIVING, GONE = 100, 101, 102
US = Identity(instance="us", host="here", boot="b", pid=OURS, is_running=lambda pid: pid != GONE)


@pytest.mark.parametrize(
    ("host", "boot", "pid", "silent_s", "dead"),
    [
        ("here", "b", LIVING, 3600, False),  # alive, however silent: its lease tells
        ("here", "b", GONE, 0, True),
        ("here", "other boot", GONE, 10, False),
        ("here", "other boot", LIVING, 120, True),
        ("there", "b", GONE, 10, False),
        ("there", "b", GONE, 120, True),
        ("here", "b", OURS, 1, False),
    ],
    ids=["living", "gone", "rebooted", "long silent", "elsewhere", "long silent elsewhere", "our own pid"],
)
def test_who_is_dead(host: str, boot: str, pid: int, silent_s: int, dead: bool) -> None:
    seen_at = NOW - timedelta(seconds=silent_s)
    one = runs.Worker(instance="i", host=host, boot=boot, pid=pid, started_at=seen_at, seen_at=seen_at)
    assert is_dead(one, US, NOW) is dead


@pytest.mark.parametrize(
    ("host", "boot", "pid", "gone"),
    [
        ("here", "b", GONE, True),
        ("here", "b", LIVING, False),
        ("here", "b", OURS, False),
        ("here", "other boot", GONE, False),
        ("there", "b", GONE, False),
    ],
    ids=["gone", "living", "our own pid", "rebooted", "elsewhere"],
)
def test_who_is_gone_at_once(host: str, boot: str, pid: int, gone: bool) -> None:
    assert is_gone(US, host, boot, pid) is gone


def test_where_the_system_names_no_boot_nothing_is_known_of_a_pid() -> None:
    """Two containers of one name, say: the pid of one means nothing in the other."""
    us = structs.replace(US, boot="")
    assert not is_gone(us, "here", "", GONE)
    one = runs.Worker(instance="i", host="here", boot="", pid=GONE, started_at=NOW, seen_at=NOW)
    assert not is_dead(one, us, NOW) and is_dead(one, us, NOW + timedelta(minutes=2))
