"""What stands on sockets is tested on both loops: asyncio's own, and uvloop where there is one."""

import asyncio
from collections.abc import Callable, Mapping

try:
    import uvloop
except ImportError:
    LOOPS: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
else:
    LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test once on every loop."""
    return LOOPS
