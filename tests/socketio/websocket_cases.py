"""WebSocket conformance: the same conversations directly with a server and through the proxy, compared byte for byte.

The cases follow the chapters of the Autobahn testsuite (framing, pings, reserved bits, opcodes, fragmentation, UTF-8,
closing, limits, compression), which itself needs Python 2.7. Both directions are raw: the client here builds legal and
illegal frames, so that nothing between it and the server can repair them.

`serve` runs an echo server of the `websockets` package and prints {"port": N}. `compare DIRECT PROXY` runs every case
on both and prints how many were equal; the exit code tells whether all were.
"""

import asyncio
import base64
import hashlib
import itertools
import json
import logging
import os
import struct
import sys
import zlib

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
LIMIT = 60.0
AT_ONCE = 8
KEY = base64.b64encode(b"0123456789abcdef").decode()
MASK = b"\x37\xfa\x21\x3d"
GOOD_TEXT = "Hello-\u00b5@\u00df\u00f6\u00e4\u00fc\u00e0\u00e1-UTF-8!! \U0001f600".encode()
BAD_TEXTS = {
    "surrogate": b"\xed\xa0\x80",
    "overlong": b"\xc0\xaf",
    "beyond": b"\xf4\x90\x80\x80",
    "cut": b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce",
    "continuation": b"\x80",
    "impossible": b"\xfe",
}


def frame(opcode, payload=b"", fin=True, rsv=0, mask=MASK, length=None):
    """A client's frame; `length` overrides the length's form."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    size = len(payload)
    form = length or (7 if size < 126 else 16 if size < 1 << 16 else 64)
    masked = 0x80 if mask else 0
    if form == 7:
        head = struct.pack("!BB", first, masked | size)
    elif form == 16:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    if not mask:
        return head + payload
    key = (mask * (size // 4 + 1))[:size]
    hidden = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
    return head + mask + hidden


def closing(code=1000, reason=b""):
    return frame(CLOSE, struct.pack("!H", code) + reason)


class Step:
    """Bytes to send, in pieces of `chop` bytes, and how many frames are awaited before the next step."""

    def __init__(self, data, answers=0, chop=0):
        self.data, self.answers, self.chop = data, answers, chop


END = Step(closing())


def cases():
    """Name, steps and headers of each case. A case ends with the connection."""
    for opcode in (TEXT, BINARY):
        for size in (0, 1, 125, 126, 127, 128, 65535, 65536, 1 << 20):
            whole = frame(opcode, b"*" * size)
            yield f"1.{opcode}.{size}", [Step(whole, 1), END], {}
        for chop in (1, 7, 997):
            yield f"1.{opcode}.chop{chop}", [Step(frame(opcode, b"*" * 3000), 1, chop), END], {}
        for length in (16, 64):
            yield f"1.{opcode}.long{length}", [Step(frame(opcode, b"ab", length=length), 1), END], {}
    for size in (0, 1, 8, 125):
        yield f"2.ping.{size}", [Step(frame(PING, b"p" * size), 1), END], {}
    yield "2.ping.126", [Step(frame(PING, b"p" * 126))], {}
    yield "2.ping.chopped", [Step(frame(PING, b"p" * 125), 1, 1), END], {}
    yield "2.pong.unasked", [Step(frame(PONG, b"x")), Step(frame(PING, b"y"), 1), END], {}
    yield "2.pings", [Step(b"".join(frame(PING, b"%d" % number) for number in range(10)), 10), END], {}
    for rsv, opcode in itertools.product(range(1, 8), (TEXT, PING, CLOSE)):
        yield f"3.{rsv}.{opcode}", [Step(frame(TEXT, b"before"), 1), Step(frame(opcode, b"", rsv=rsv))], {}
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield f"4.{opcode}", [Step(frame(TEXT, b"before"), 1), Step(frame(opcode, b"reserved"))], {}
    yield from fragmentation()
    yield from texts()
    yield from closes()
    for opcode, size in itertools.product((TEXT, BINARY), (1 << 18, 1 << 20, 4 << 20)):
        yield f"9.{opcode}.{size}", [Step(frame(opcode, b"*" * size), 1), END], {}
        pieces = [frame(0 if at else opcode, b"*" * 4096, at + 4096 == size) for at in range(0, size, 4096)]
        yield f"9.{opcode}.{size}.fragments", [Step(b"".join(pieces), 1), END], {}
    for size in (0, 16, 64, 256, 1024):
        steps = [Step(frame(BINARY, bytes([number]) * size), 1) for number in range(100)]
        yield f"9.round.{size}", [*steps, END], {}
    yield "mask.missing", [Step(frame(TEXT, b"bare", mask=b""))], {}
    yield from compression()
    for name, header in (
        ("subprotocol", {"Sec-WebSocket-Protocol": "chat, superchat"}),
        ("no-subprotocol", {"Sec-WebSocket-Protocol": "unknown"}),
        ("origin", {"Origin": "https://app.example"}),
        ("unknown-extension", {"Sec-WebSocket-Extensions": "x-unknown; a=1"}),
        ("long-header", {"X-Long": "x" * 4000}),
        ("version", {"Sec-WebSocket-Version": "12"}),
    ):
        yield f"open.{name}", [Step(frame(TEXT, b"hello"), 1), END], header


def fragmentation():
    first, more, last = frame(TEXT, b"one", False), frame(0, b"two", False), frame(0, b"three")
    ping = frame(PING, b"between")
    yield "5.fragments", [Step(first + more + last, 1), END], {}
    yield "5.fragments.chopped", [Step(first + more + last, 1, 1), END], {}
    yield "5.empty", [Step(frame(TEXT, b"", False) + frame(0, b"", False) + frame(0, b""), 1), END], {}
    yield "5.ping.between", [Step(first), Step(ping, 1), Step(last, 1), END], {}
    yield "5.ping.fragmented", [Step(frame(PING, b"x", False))], {}
    yield "5.pong.fragmented", [Step(frame(PONG, b"x", False))], {}
    yield "5.continuation.first", [Step(frame(0, b"nothing to continue"))], {}
    yield "5.continuation.again", [Step(first + last, 1), Step(frame(0, b"x"))], {}
    yield "5.data.within", [Step(first), Step(frame(TEXT, b"new"))], {}
    yield "5.close.within", [Step(first), END], {}


def texts():
    yield "6.good", [Step(frame(TEXT, GOOD_TEXT), 1), END], {}
    yield "6.good.chopped", [Step(frame(TEXT, GOOD_TEXT), 1, 1), END], {}
    cut = [frame(0 if at else TEXT, GOOD_TEXT[at : at + 1], at + 1 == len(GOOD_TEXT)) for at in range(len(GOOD_TEXT))]
    yield "6.good.by-byte", [Step(b"".join(cut), 1), END], {}
    for name, bad in BAD_TEXTS.items():
        yield f"6.bad.{name}", [Step(frame(TEXT, GOOD_TEXT), 1), Step(frame(TEXT, bad))], {}
        yield f"6.bad.{name}.fragments", [Step(frame(TEXT, b"ok", False)), Step(frame(0, bad))], {}
        yield f"6.binary.{name}", [Step(frame(BINARY, bad), 1), END], {}


def closes():
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        yield f"7.{code}", [Step(closing(code, b"why"))], {}
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
        yield f"7.bad.{code}", [Step(closing(code))], {}
    yield "7.empty", [Step(frame(CLOSE))], {}
    yield "7.one-byte", [Step(frame(CLOSE, b"\x03"))], {}
    yield "7.longest", [Step(closing(1000, b"*" * 123))], {}
    yield "7.too-long", [Step(closing(1000, b"*" * 124))], {}
    yield "7.bad-text", [Step(closing(1000, b"\xce\xba\xe1"))], {}
    yield "7.data.behind", [Step(closing() + frame(TEXT, b"late"))], {}
    yield "7.chopped", [Step(closing(1000, b"why"), 0, 1)], {}


def compression():
    for offer in (
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=9",
        "permessage-deflate; server_max_window_bits=16, permessage-deflate",
    ):
        for size in (16, 1000, 100_000, 1 << 20):
            text = (json.dumps({"number": size, "text": "ring"}) * (size // 20 + 1)).encode()[:size]
            # Without context: legal with each of these offers.
            packer = zlib.compressobj(wbits=-9)
            packed = packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH)
            steps = [Step(frame(TEXT, packed[:-4], rsv=4), 1), Step(frame(TEXT, text), 1), END]
            yield f"12.{offer}.{size}", steps, {"Sec-WebSocket-Extensions": offer}
    yield "13.bad", [Step(frame(TEXT, b"\xff\xff\xff", rsv=4))], {"Sec-WebSocket-Extensions": "permessage-deflate"}


async def frames(reader):
    """Frames of the server until it closes; how it closed is the last."""
    try:
        while True:
            first, second = await reader.readexactly(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await reader.readexactly(8))
            payload = await reader.readexactly(size)
            shown = payload if size < 200 else hashlib.sha256(payload).digest()
            yield first >> 4, first & 15, second >> 7, size, shown.hex()
    except asyncio.IncompleteReadError as cut:
        yield "end", cut.partial.hex()
    except ConnectionError:
        yield ("reset",)


async def converse(address, steps, headers):
    """What came back, from the status line to the end of the connection."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        fields = {"Host": "conformance.example", "Connection": "Upgrade", "Upgrade": "websocket"}
        fields |= {"Sec-WebSocket-Key": KEY, "Sec-WebSocket-Version": "13"} | headers
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"GET /echo HTTP/1.1\r\n{lines}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        kept = sorted(line.lower() for line in head[1:] if line.lower().startswith("sec-websocket"))
        came = [head[0], *kept]
        if " 101 " not in head[0]:
            return came
        incoming = frames(reader)
        for step in steps:
            for at in range(0, len(step.data), step.chop or len(step.data)):
                writer.write(step.data[at : at + (step.chop or len(step.data))])
                if step.chop:
                    await writer.drain()
                    await asyncio.sleep(0)
            try:
                await writer.drain()
            except ConnectionError:
                break
            for _ in range(step.answers):
                came.append(await anext(incoming))
        async for one in incoming:
            came.append(one)
        return came
    finally:
        writer.close()


async def compare(direct, proxy):
    different, total = [], 0
    places = asyncio.Semaphore(AT_ONCE)

    async def run(name, steps, headers):
        async with places:
            lanes = [asyncio.wait_for(converse(lane, steps, headers), LIMIT) for lane in (direct, proxy)]
            results = await asyncio.gather(*lanes, return_exceptions=True)
        failed = any(isinstance(result, BaseException) for result in results)
        # A server that refuses everything would be the same everywhere.
        failed = failed or (" 101 " not in results[0][0] and name != "open.version")
        if failed or results[0] != results[1]:
            different.append(name)
            print(f"{name}:\n  direct {shown(results[0])}\n  proxy  {shown(results[1])}")

    tasks = []
    for case in cases():
        total += 1
        tasks.append(asyncio.create_task(run(*case)))
    await asyncio.gather(*tasks)
    print(json.dumps({"cases": total, "different": sorted(different)}))
    return not different


def shown(result):
    return repr(result)[:2000]


async def echo(connection):
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        # Most cases break a rule: what the server answers to that is the client's to see.
        pass


async def listen():
    logging.disable()
    options = {"max_size": 8 << 20, "close_timeout": 5, "ping_interval": None}
    options["select_subprotocol"] = lambda _, offered: "superchat" if "superchat" in offered else None
    async with serve(echo, "127.0.0.1", 0, **options) as server:
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
        # Ends with its standard input, so with whoever started it.
        await asyncio.to_thread(sys.stdin.read)
    os._exit(0)


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(listen())
    else:
        sys.exit(not asyncio.run(compare(address(sys.argv[2]), address(sys.argv[3]))))
