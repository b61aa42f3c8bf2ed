"""Lists the fixture files, and has rubbish taken away before it holds too many descriptors for select()."""

import gc
import os

import pytest

pytest_plugins = [
    "tests.fixtures.carriers",
    "tests.fixtures.chance",
    "tests.fixtures.database",
    "tests.fixtures.doors",
    "tests.fixtures.flaky_proxy",
    "tests.fixtures.postgres",
    "tests.fixtures.scripted_smsc",
    "tests.fixtures.smsc",
    "tests.fixtures.tls_door",
]


# Loops that are over hold sockets until the collector comes by, which in a process as large as this one is seldom.
MOST_DESCRIPTORS = 200


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Behind the last test of a file."""
    is_last = nextitem is None or nextitem.path != item.path
    if is_last and os.path.isdir("/proc/self/fd") and len(os.listdir("/proc/self/fd")) > MOST_DESCRIPTORS:
        gc.collect()
