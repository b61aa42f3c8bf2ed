"""Kannel as a gateway: messages accepted over HTTP, submitted to our sink; where bearerbox and smsbox are installed.

    python -m benchmarks.kannel [--messages N] [--receipts]

Two phases with one bearerbox and one smsbox, no store file, window (max-pending-submits) 100:

    accept      the sink is away: N messages are accepted by HTTP and wait in memory
    drain       the sink comes: bearerbox binds and submits all of them; the sink says in how many seconds

The rate is the drain's, so the price of our HTTP load is not in it; CPU a message is of both phases and both boxes.
Prints one JSON object; `skipped` with the reason where Kannel is not installed (Debian: package kannel).
Not measured: Kannel's spool (it does not fsync), its DLR database, its HTTP at full speed.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.limit import programs
from benchmarks.peer_clients import TEXT

MESSAGES = 20_000
HTTP_LINKS = 20
START_TIMEOUT_S = 20.0
DRAIN_TIMEOUT_S = 60.0
# bearerbox tries a lost SMSC again after this long; it is not in the rate, which the sink takes.
RECONNECT_S = 1

CORE = """
group = core
admin-port = {admin}
admin-password = bench
admin-allow-ip = "127.0.0.1"
smsbox-port = {boxes}
box-allow-ip = "127.0.0.1"
log-file = "{folder}/bearerbox.log"
log-level = 3
dlr-storage = internal

group = smsc
smsc = smpp
smsc-id = sink
host = 127.0.0.1
port = {sink}
transceiver-mode = true
smsc-username = bench
smsc-password = bench
system-type = ""
max-pending-submits = {window}
reconnect-delay = {reconnect}
source-addr-autodetect = true

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {http}
log-file = "{folder}/smsbox.log"
log-level = 3

group = sendsms-user
username = bench
password = bench
default-sender = sluice
max-messages = 1
"""


def executables() -> list[str] | None:
    """Where bearerbox and smsbox are, or None; Debian puts them where an ordinary user's PATH does not look."""
    path = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin" + os.pathsep + "/usr/local/sbin"
    found = [shutil.which(name, path=path) for name in ("bearerbox", "smsbox")]
    return [one for one in found if one] if all(found) else None


def free_ports(n: int) -> list[int]:
    """Ports that were free a moment ago."""
    with contextlib.ExitStack() as open_ones:
        sockets = [open_ones.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def await_port(port: int, process: subprocess.Popen[bytes], what: str) -> None:
    """Return when something listens there. RuntimeError when the process ended, or after a while."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{what} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{what} does not listen on {port} after {START_TIMEOUT_S:.0f} s")


@contextlib.contextmanager
def running(command: list[str], port: int, core: int | None) -> Iterator[subprocess.Popen[bytes]]:
    """Run one box until the block ends."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=machine.pinned(core)
    )
    try:
        await_port(port, process, Path(command[0]).name)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    """CPU of a running process, all its threads."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def offer(port: int, messages: int, receipts: bool) -> int:
    """Hand so many messages to smsbox over a few kept-alive links; -> how many it accepted (HTTP 202)."""
    left = iter(range(messages))
    accepted = 0

    async def link() -> None:
        nonlocal accepted
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for at in left:
            query = {"username": "bench", "password": "bench", "to": str(447_700_900_000 + at), "text": TEXT}
            if receipts:
                # 1 | 2: the SMSC's word on delivery, good or bad. Nobody listens there.
                query |= {"dlr-mask": "3"}
            request = f"GET /cgi-bin/sendsms?{urllib.parse.urlencode(query)} HTTP/1.1\r\nHost: bench\r\n\r\n"
            writer.write(request.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
            )
            await reader.readexactly(length)
            accepted += b" 202 " in head.split(b"\r\n", 1)[0]
        writer.close()

    await asyncio.gather(*(link() for _ in range(HTTP_LINKS)))
    return accepted


def sent_so_far(admin: int) -> int:
    """Messages bearerbox says it has sent."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/status.xml?password=bench", timeout=10) as answer:
        page = answer.read().decode()
    # <wdp>…</wdp><sms><received><total>…</received><sent><total>N</total>
    return int(page.split("<sms>", 1)[1].split("<sent>", 1)[1].split("<total>", 1)[1].split("<", 1)[0])


def measure(messages: int, window: int, receipts: bool) -> dict[str, Any]:
    """Run both phases; -> the result object."""
    boxes = executables()
    if boxes is None:
        return {"peer": "kannel", "skipped": "bearerbox and smsbox are not installed (Debian: apt-get install kannel)"}
    core = machine.client_core()
    sink, admin, box, http = free_ports(4)
    with tempfile.TemporaryDirectory(prefix="sluice-kannel-") as folder, contextlib.ExitStack() as open_ones:
        path = Path(folder) / "kannel.conf"
        path.write_text(
            CORE.format(
                admin=admin, boxes=box, sink=sink, http=http, folder=folder, window=window, reconnect=RECONNECT_S
            )
        )
        bearerbox = open_ones.enter_context(running([boxes[0], str(path)], admin, core))
        smsbox = open_ones.enter_context(running([boxes[1], str(path)], http, core))
        before = cpu_s(bearerbox) + cpu_s(smsbox)
        began = time.monotonic()
        accepted = asyncio.run(asyncio.wait_for(offer(http, messages, receipts), DRAIN_TIMEOUT_S))
        accept_s = time.monotonic() - began
        cpu_accept = cpu_s(bearerbox) + cpu_s(smsbox) - before
        with programs.sink(receipts=receipts, core=machine.sink_core(), port=sink) as running_sink:
            deadline = time.monotonic() + DRAIN_TIMEOUT_S
            while (sent := sent_so_far(admin)) < accepted and time.monotonic() < deadline:
                time.sleep(0.1)
            cpu = cpu_s(bearerbox) + cpu_s(smsbox) - before
        counted = running_sink.counted
    submits = counted["submits"]
    return {
        "peer": "kannel",
        "version": version_of(boxes[0]),
        "window": window,
        "accepted": accepted,
        "accept_seconds": round(accept_s, 3),
        "sent": sent,
        "responses": submits,
        "receipts": counted["receipts"],
        "seconds": counted["seconds"],
        "rate": round(submits / counted["seconds"], 1) if counted["seconds"] else 0.0,
        "cpu_us_accept": round(cpu_accept / max(1, accepted) * 1e6, 2),
        "cpu_us_per_message": round(cpu / max(1, submits) * 1e6, 2),
    }


def version_of(bearerbox: str) -> str:
    """What bearerbox calls itself."""
    done = subprocess.run([bearerbox, "--version"], capture_output=True, text=True, timeout=10)
    found = [line for line in (done.stdout + done.stderr).splitlines() if "version" in line.lower()]
    return found[0].strip(" .\n") if found else "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description="Send through Kannel, where it is installed.")
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--window", type=int, default=100)
    parser.add_argument("--receipts", action="store_true")
    options = parser.parse_args()
    result = measure(options.messages, options.window, options.receipts)
    print(json.dumps(result))
    sys.stdout.flush()
    if "skipped" not in result and result["responses"] < result["accepted"]:
        sys.exit(f"kannel: {result['responses']} of {result['accepted']} submitted in {DRAIN_TIMEOUT_S:.0f} s")


if __name__ == "__main__":
    main()
