"""Serves HTTP for the door: uvicorn on a socket that we have bound, with small limits and without its own words.

TLS is the business of what stands before it (docs/links.md), and so is its address: X-Forwarded-For is believed of the
proxies of the settings alone. Not here: what is answered (door.py).
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Sequence

import uvicorn
from starlette.applications import Starlette

# Of requests under way; whoever comes beyond is told 503 at once.
MOST_AT_ONCE = 2000
BACKLOG = 2048
KEEP_ALIVE_S = 5
# What is under way when it is ended has so long.
GRACE_S = 3


class Server(uvicorn.Server):
    """Leaves signals to the program."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


@contextlib.asynccontextmanager
async def serve(app: Starlette, host: str, port: int, proxies: Sequence[str]) -> AsyncIterator[str]:
    """Answer on an address while the block lasts; -> that address, its port found where 0 is asked for.

    raises  OSError: it cannot be listened on
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=True,
            forwarded_allow_ips=list(proxies),
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
            limit_concurrency=MOST_AT_ONCE,
        )
        server = Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started and not task.done():
                await asyncio.sleep(0.01)
            if task.done():
                await task
            shown = listener.getsockname()
            yield f"[{shown[0]}]:{shown[1]}" if family == socket.AF_INET6 else f"{shown[0]}:{shown[1]}"
        finally:
            server.should_exit = True
            await asyncio.gather(task, return_exceptions=True)
