"""Runs one scenario with the python-socketio client, as client.js does with the others.

    python client.py polling|upgrade|websocket|restart|held|drained --lane NAME=URL [--lane NAME=URL ...] [--limit SECONDS]

Prints one line of JSON; the exit code is 0 only if the scenario held on every lane. It ends within its limit.
"""

import argparse
import asyncio
import json
import socket
import sys
import time
import traceback

import aiohttp
import socketio
from engineio.payload import Payload

# The documented knob for servers that put more than 16 packets into one poll, as every node server may.
Payload.max_decode_packets = 500

ROUND_TRIPS = 40
BYTES = bytes(index * 7 & 255 for index in range(70_000))
TEXT = 'plain, "quoted", \\back\\slashed\n, ümläut, 漢字, 🚢, end'

# What the test drains over how long.
DRAINED_SESSIONS, DRAIN_SECONDS = 60, 6

# Hosts of tests are on this machine, whatever its resolver knows.
resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **named: resolve(
    "127.0.0.1" if isinstance(host, str) and host.endswith(".test") else host, *rest, **named
)

# What the scenario lets the client use, and what it must end on.
TRANSPORTS = {
    "polling": (["polling"], "polling"),
    "upgrade": (["polling", "websocket"], "websocket"),
    "websocket": (["websocket"], "websocket"),
}


async def run(scenario, url):
    """One session: echoes of every kind, a pushed sequence in order, one backend from start to end."""
    transports, last = TRANSPORTS[scenario]
    client = socketio.AsyncClient(reconnection=False)
    numbers, disconnected, streamed = [], [], asyncio.Event()

    @client.on("number")
    async def on_number(number):
        numbers.append(number)
        if number == 199:
            streamed.set()

    @client.on("disconnect")
    async def on_disconnect(reason):
        disconnected.append(reason)

    await client.connect(url, transports=transports, wait_timeout=20)
    before = await client.call("whoami", timeout=20)
    await client.emit("stream", 200)
    for number in range(ROUND_TRIPS):
        check(await client.call("echo", number, timeout=20), number)
    check(await client.call("echo", TEXT, timeout=20), TEXT)
    check(await client.call("echo", BYTES, timeout=20), BYTES)
    await asyncio.wait_for(streamed.wait(), 20)
    check(numbers, list(range(200)))
    after = await client.call("whoami", timeout=20)
    check(after["transport"], last)
    check(client.transport(), last)
    check(after["backend"], before["backend"])
    check(disconnected, [])
    await client.eio.disconnect(abort=True)  # without: python-engineio waits for a poll its own server never ends
    return {"backend": after["backend"]}


async def restart(url):
    """By polling: the server answers as the same session before, while and after requests were held back."""
    client = socketio.AsyncClient(reconnection=False)
    ticks = asyncio.Queue()
    client.on("tick", ticks.put)
    await client.connect(url, transports=["polling"], wait_timeout=20)
    first = await client.call("whoami", timeout=20)
    await client.emit("beat", 100)
    await asyncio.wait_for(ticks.get(), 20)
    passing = asyncio.create_task(passed(url))
    while not passing.done():
        check(await client.call("whoami", timeout=20), first)
    check(await passing, 204)
    for number in range(10):
        check(await client.call("echo", number, timeout=20), number)
        await asyncio.wait_for(ticks.get(), 20)
    check(await client.call("whoami", timeout=20), first)
    await client.eio.disconnect(abort=True)
    return {"backend": first["backend"]}


async def held(url):
    """By polling: a poll that is held when what is in between dies ends its session; the client comes back by itself."""
    client = socketio.AsyncClient()
    connected, lost, refused = asyncio.Queue(), asyncio.Queue(), []
    client.on("connect", lambda: connected.put_nowait(True))
    client.on("disconnect", lost.put_nowait)
    client.on("connect_error", refused.append)
    await client.connect(url, transports=["polling"], wait_timeout=20)
    await connected.get()
    first = await client.call("whoami", timeout=20)
    passing = asyncio.create_task(passed(url))
    check(await lost.get(), client.reason.TRANSPORT_ERROR)
    await connected.get()
    check(refused, [])
    again = await client.call("whoami", timeout=20)
    check(again["id"] == first["id"], False)
    check(await client.call("echo", 1, timeout=20), 1)
    check(await passing, 204)
    await client.eio.disconnect(abort=True)
    return {"backend": again["backend"]}


class Session:
    """By polling: connects again by itself, and keeps an account of what it met."""

    def __init__(self):
        self.client = socketio.AsyncClient(reconnection_delay=0.02, reconnection_delay_max=0.2)
        self.connects, self.ends, self.errors = 0, [], []
        self.client.on("connect", self.on_connect)
        self.client.on("disconnect", self.on_disconnect)
        self.client.on("connect_error", self.errors.append)

    def on_connect(self):
        self.connects += 1

    def on_disconnect(self, reason):
        self.ends.append((reason, time.monotonic()))

    async def open(self, url):
        """Connects for the first time; resolves to this session."""
        await self.client.connect(url, transports=["polling"], wait_timeout=20)
        self.first = await self.client.call("whoami", timeout=20)
        return self


async def drained(url):
    """As in scenarios/drain.js, but that a refused poll is what brings this client back."""
    sessions = await asyncio.gather(*(Session().open(url) for _ in range(DRAINED_SESSIONS)))
    # Its handshake tells the test that all are there; the drain may meet it in the middle of anything else.
    last = Session()
    coming = asyncio.create_task(last.client.connect(url, transports=["polling"], wait_timeout=20))
    hit = [one for one in sessions if one.first["backend"] == "backend-1"]
    others = [one for one in sessions if one.first["backend"] != "backend-1"]
    if len(hit) < DRAINED_SESSIONS / 6:
        raise AssertionError(f"only {len(hit)} sessions are on backend-1")
    while any(one.connects < 2 for one in hit):
        await asyncio.sleep(0.02)
    for one in hit:
        check(([reason for reason, _ in one.ends], one.errors), (["transport error"], []))
        if (await one.client.call("whoami", timeout=20))["backend"] == "backend-1":
            raise AssertionError("back at the drained backend")
    for one in others:
        check((await one.client.call("whoami", timeout=20), one.ends, one.errors), (one.first, [], []))
    times = sorted(at for one in hit for _, at in one.ends)
    if times[-1] - times[0] < DRAIN_SECONDS / 3:
        raise AssertionError(f"all {len(hit)} were closed within {times[-1] - times[0]} s")
    await asyncio.gather(coming, return_exceptions=True)
    for one in [*sessions, last]:
        await one.client.eio.disconnect(abort=True)
    return {"hit": len(hit), "others": len(others)}


async def passed(url):
    """The status with which the relay in front says that it has held requests back and let them go."""
    async with aiohttp.ClientSession() as session, session.get(url + "/passed") as answer:
        return answer.status


def check(found, expected):
    """Raises if the two differ; long values are cut in the message."""
    if found != expected:
        raise AssertionError(f"found {str(found)[:200]}, expected {str(expected)[:200]}")


# Scenarios that are told by themselves.
OTHERS = {"restart": restart, "held": held, "drained": drained}


async def judge(scenario, lane, limit):
    """The lane's entry of the result."""
    name, url = lane.split("=", 1)
    started = time.monotonic()
    try:
        session = OTHERS[scenario](url) if scenario in OTHERS else run(scenario, url)
        found = await asyncio.wait_for(session, limit)
        outcome = {"ok": True, "found": found}
    except Exception:
        outcome = {"ok": False, "error": traceback.format_exc()[-2000:]}
    return {"lane": name, "ms": round((time.monotonic() - started) * 1000), **outcome}


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", choices=[*TRANSPORTS, *OTHERS])
    parser.add_argument("--lane", action="append", required=True)
    parser.add_argument("--limit", type=float, default=30)
    arguments = parser.parse_args()
    judged = [judge(arguments.scenario, lane, arguments.limit) for lane in arguments.lane]
    results = await asyncio.gather(*judged)
    ok = all(result["ok"] for result in results)
    print(json.dumps({"ok": ok, "results": results}), flush=True)
    sys.exit(0 if ok else 1)


asyncio.run(main())
