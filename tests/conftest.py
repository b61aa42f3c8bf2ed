"""Lists the fixture files; the collector passes over what stays, and comes before sockets are too many for select()."""

import gc
import os

import pytest

pytest_plugins = [
    "tests.fixtures.carriers",
    "tests.fixtures.chance",
    "tests.fixtures.database",
    "tests.fixtures.doors",
    "tests.fixtures.flaky_proxy",
    "tests.fixtures.shop",  # before keeper, which imports it
    "tests.fixtures.keeper",
    "tests.fixtures.postgres",
    "tests.fixtures.scripted_smsc",
    "tests.fixtures.smsc",
    "tests.fixtures.tls_door",
]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave modules and thousands of tests out of every collection from here on: one took a third of a second."""
    gc.collect()
    gc.freeze()


# Loops that are over hold sockets until the collector comes by, which in a process as large as this one is seldom.
MOST_DESCRIPTORS = 200


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Behind the last test of a file."""
    is_last = nextitem is None or nextitem.path != item.path
    if is_last and os.path.isdir("/proc/self/fd") and len(os.listdir("/proc/self/fd")) > MOST_DESCRIPTORS:
        gc.collect()
