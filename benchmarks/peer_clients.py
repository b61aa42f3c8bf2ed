"""One client library of others, sending through its own API as its documentation shows: a process a run.

    python -m benchmarks.peer_clients smpplib|smpp34|aiosmpplib --port N --messages N --window N [--receipts]

Prints one JSON object with the names `sluice bench client` uses. Each library is as shipped: its own logging, its own
socket options (none of the three sets TCP_NODELAY; with receipts Nagle's algorithm and delayed ACKs then meet).
A window is kept where the library has none: smpplib by reading when it is full, aiosmpplib by a broker that hands out
no more; smpp34 has `window_size`, and as many tasks submit.
Not here: a database, a second bind.
"""

import argparse
import asyncio
import json
import logging
import os
import resource
import sys
import time
from typing import Any

from benchmarks.corpus import FIRST_NUMBER, SOURCE

# As `sluice bench client`: 100 characters, all of them GSM and all of them ASCII.
TEXT = "Hi Katarina, your order 48213377 has left our depot and arrives on Friday between 14:00 and 16:00 h."
WHO = "bench"


class Clock:
    """What a run took: wall time and CPU of this process, all its threads."""

    def __init__(self) -> None:
        self._wall = time.monotonic()
        self._cpu = self._used()

    @staticmethod
    def _used() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    def result(self, responses: int, receipts: int, errors: int) -> dict[str, Any]:
        """Stop, and make the object of it."""
        seconds, cpu = time.monotonic() - self._wall, self._used() - self._cpu
        return {
            "responses": responses,
            "receipts": receipts,
            "errors": errors,
            "seconds": round(seconds, 4),
            "rate": round(responses / seconds, 1),
            "cpu_us_per_message": round(cpu / max(1, responses) * 1e6, 3),
            "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        }


def smpplib(port: int, messages: int, window: int, receipts: bool) -> dict[str, Any]:
    """Send until the window is full, read once, and again: the library has one thread and blocks."""
    from smpplib.client import Client

    responses = received = errors = 0

    def on_response(pdu: Any, **_: Any) -> None:
        nonlocal responses, errors
        responses += 1
        errors += pdu.status != 0

    def on_receipt(pdu: Any, **_: Any) -> None:
        nonlocal received
        received += 1

    client = Client("127.0.0.1", port, allow_unknown_opt_params=True)
    client.set_message_sent_handler(on_response)
    client.set_message_received_handler(on_receipt)
    client.connect()
    client.bind_transceiver(system_id=WHO, password=WHO)
    octets = TEXT.encode()
    clock = Clock()
    sent = 0
    while responses < messages or (receipts and received < messages):
        while sent < messages and sent - responses < window:
            client.send_message(
                source_addr_ton=5, source_addr=SOURCE, dest_addr_ton=1, dest_addr_npi=1,
                destination_addr=str(FIRST_NUMBER + sent), short_message=octets, registered_delivery=receipts,
            )  # fmt: skip
            sent += 1
        client.read_once()
    result = clock.result(responses, received, errors)
    client.unbind()
    client.disconnect()
    return result


async def smpp34(port: int, messages: int, window: int, receipts: bool) -> dict[str, Any]:
    """As many tasks as the window is large, each awaiting its response; one more takes the receipts."""
    import smpp34 as library

    client = library.Client("127.0.0.1", port, WHO, WHO, bind_type="TRX", window_size=window)
    link = await client.connect()
    octets = TEXT.encode()
    responses = received = errors = 0
    left = iter(range(messages))

    async def submit() -> None:
        nonlocal responses, errors
        for at in left:
            answer = await link.submit_sm(
                str(FIRST_NUMBER + at), octets, source_addr=SOURCE, source_addr_ton=5, dest_addr_ton=1,
                dest_addr_npi=1, registered_delivery=int(receipts),
            )  # fmt: skip
            responses += 1
            errors += not answer.is_success

    async def take() -> None:
        nonlocal received
        while received < messages:
            if isinstance(await link.next(), library.Disconnected):
                raise SystemExit(f"smpp34: the session ended after {received} of {messages} receipts")
            received += 1

    clock = Clock()
    await asyncio.gather(*(submit() for _ in range(window)), *([take()] if receipts else []))
    result = clock.result(responses, received, errors)
    await client.stop()
    return result


async def aiosmpplib(port: int, messages: int, window: int, receipts: bool) -> dict[str, Any]:
    """A broker that makes messages while the window has room, and a hook that counts what comes."""
    from aiosmpplib import ESME, NPI, TON, AbstractBroker, AbstractHook, DeliverSm, PhoneNumber, SubmitSm, SubmitSmResp

    room = asyncio.Semaphore(window)
    done = asyncio.Event()
    source = PhoneNumber(SOURCE, TON.ALPHANUMERIC, NPI.UNKNOWN)
    counted = {"responses": 0, "receipts": 0, "errors": 0}

    class Broker(AbstractBroker):
        sent = 0

        async def enqueue(self, message: Any) -> None:
            raise AssertionError("this broker makes its own messages")

        async def dequeue(self) -> Any:
            if self.sent >= messages:
                await done.wait()
                await asyncio.Event().wait()
            await room.acquire()
            self.sent += 1
            return SubmitSm(
                short_message=TEXT, source=source, destination=PhoneNumber(str(FIRST_NUMBER + self.sent)),
                registered_delivery=int(receipts), log_id=str(self.sent),
            )  # fmt: skip

    class Hook(AbstractHook):
        async def sending(self, smpp_message: Any, pdu: bytes, client_id: str) -> None:
            return None

        async def received(self, smpp_message: Any, pdu: bytes, client_id: str) -> None:
            if isinstance(smpp_message, SubmitSmResp):
                counted["responses"] += 1
                counted["errors"] += bool(smpp_message.command_status)
                room.release()
            elif isinstance(smpp_message, DeliverSm):
                counted["receipts"] += 1
            if counted["responses"] >= messages and (not receipts or counted["receipts"] >= messages):
                done.set()

        async def send_error(self, smpp_message: Any, error: Exception, client_id: str) -> None:
            counted["errors"] += 1

    esme = ESME("127.0.0.1", port, WHO, WHO, hook=Hook(), broker=Broker(), log_level=logging.WARNING)
    clock = Clock()
    running = asyncio.create_task(esme.start())
    # start() ends when the library has given up: then there is nothing to wait for.
    await asyncio.wait({running, waiting := asyncio.create_task(done.wait())}, return_when=asyncio.FIRST_COMPLETED)
    result = clock.result(**counted)
    waiting.cancel()
    running.cancel()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Send through one SMPP library of others.")
    parser.add_argument("library", choices=("smpplib", "smpp34", "aiosmpplib"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--window", type=int, default=100)
    parser.add_argument("--receipts", action="store_true")
    options = parser.parse_args()
    given = options.port, options.messages, options.window, options.receipts
    if options.library == "smpplib":
        result = smpplib(*given)
    else:
        result = asyncio.run((smpp34 if options.library == "smpp34" else aiosmpplib)(*given))
    print(json.dumps({"peer": options.library, "window": options.window, **result}))
    sys.stdout.flush()
    if result["responses"] < options.messages or result["errors"]:
        sys.exit(f"{options.library}: {result['responses']} of {options.messages} answered, {result['errors']} errors")
    # smpp34 1.5.0 crashes now and then while the interpreter shuts down: its threads outlive what they call.
    os._exit(0)


if __name__ == "__main__":
    main()
