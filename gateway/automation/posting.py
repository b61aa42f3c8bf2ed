"""One call of another system: a POST that is signed, answered within a time, and led nowhere else.

Whom a name leads to is asked of the resolver as a connection is made, and addresses of private networks are left out
there unless the settings allow them: no name can lead into a network of ours. A redirect is not followed.
Not here: the headers and what is for good (gateway/webhook.py), when something is told once more (whoever calls).
"""

import socket

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from msgspec import Struct

from gateway import webhook
from gateway.webhook import WebhookSettings

AT_ONCE, HOST_AT_ONCE = 64, 8
# Of an answer that is read; what is longer is cut.
MOST_OCTETS = 20_000
_SHOWN = 200


class Posted(Struct, frozen=True, kw_only=True):
    """What came of a call.

    status    0: there was no answer, and `said` says why
    is_final  another try changes nothing
    """

    status: int = 0
    body: bytes = b""
    said: str = ""
    is_final: bool = False

    @property
    def told(self) -> str:
        """The first of what was said, in letters that can be shown."""
        said = self.said or self.body[:_SHOWN].decode(errors="replace")
        return "".join(letter for letter in said[:_SHOWN] if letter.isprintable())


class PrivateAddress(OSError):
    """A name leads to addresses of private networks alone."""


class PublicResolver(AbstractResolver):
    """Asks where a name leads, and leaves out what is no address of the world."""

    def __init__(self, inner: AbstractResolver):
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Look a name up. raises PrivateAddress, OSError."""
        found = [one for one in await self._inner.resolve(host, port, family) if not webhook.is_private(one["host"])]
        if not found:
            raise PrivateAddress(f"{host} leads to private addresses alone (webhooks.allow_private)")
        return found

    async def close(self) -> None:
        """Give up what the inner one has."""
        await self._inner.close()


def client_of(settings: WebhookSettings) -> aiohttp.ClientSession:
    """Make a client for some calls; the caller closes it."""
    inner = aiohttp.ThreadedResolver()
    connector = aiohttp.TCPConnector(
        resolver=inner if settings.allow_private else PublicResolver(inner), limit=AT_ONCE,
        limit_per_host=HOST_AT_ONCE, use_dns_cache=False,
    )  # fmt: skip
    return aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=webhook.TIMEOUT_S),
        cookie_jar=aiohttp.DummyCookieJar(), trust_env=False,
    )  # fmt: skip


async def post(
    client: aiohttp.ClientSession, settings: WebhookSettings, url: str, body: bytes, headers: dict[str, str]
) -> Posted:
    """Call once; whatever goes wrong is an answer without a status."""
    if problem := webhook.url_problem(url, settings):
        return Posted(said=problem, is_final=True)
    try:
        async with client.post(url, data=body, headers=headers, allow_redirects=False) as response:
            octets = b""
            async for some in response.content.iter_chunked(4096):
                octets += some
                if len(octets) >= MOST_OCTETS:
                    break
            return Posted(
                status=response.status, body=octets[:MOST_OCTETS], is_final=webhook.is_for_good(response.status)
            )
    except TimeoutError:
        return Posted(said=f"no answer within {webhook.TIMEOUT_S:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        cause = next(
            (one for one in (error, error.__cause__, error.__context__) if isinstance(one, PrivateAddress)), None
        )
        return Posted(said=str(cause or error) or type(error).__name__, is_final=cause is not None)
