"""Keeps WebSocket tunnels through 127.0.0.1:8080 to a backend of its own on port 3000, and talks in each without rest.

Prints `open` when all tunnels are. A line on standard input asks for a report: `alive TUNNELS ECHOES`, or what was lost.
"""

import socket
import sys
import threading
import time

TUNNELS = 20
LIMIT_SECONDS = 20
# The key of RFC 6455 section 1.3, and what belongs to it.
UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def read_head(connection):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            raise ConnectionError(f"closed after {head!r}")
        head += byte
    return head


def echo(connection):
    read_head(connection)
    connection.sendall(SWITCHED)
    while data := connection.recv(4096):
        connection.sendall(data)


def backend():
    listener = socket.create_server(("127.0.0.1", 3000), backlog=64)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=echo, args=(connection,), daemon=True).start()


class Tunnel:
    def __init__(self):
        self.echoes = 0
        self.fault = None
        self.connection = socket.create_connection(("127.0.0.1", 8080), timeout=LIMIT_SECONDS)
        self.connection.sendall(UPGRADE)
        head = read_head(self.connection)
        if b" 101 " not in head:
            raise ConnectionError(head)
        threading.Thread(target=self.talk, daemon=True).start()

    def talk(self):
        try:
            while True:
                said = b"%08d" % self.echoes
                self.connection.sendall(said)
                heard = b""
                while len(heard) < len(said):
                    piece = self.connection.recv(len(said) - len(heard))
                    if not piece:
                        raise ConnectionError("closed")
                    heard += piece
                if heard != said:
                    raise ConnectionError(f"{heard!r} for {said!r}")
                self.echoes += 1
                time.sleep(0.02)
        except OSError as error:
            self.fault = error


def report(tunnels):
    """After each has echoed once more, or failed to."""
    before = [tunnel.echoes for tunnel in tunnels]
    deadline = time.monotonic() + LIMIT_SECONDS
    while any(t.fault is None and t.echoes < b + 2 for t, b in zip(tunnels, before)):
        if time.monotonic() > deadline:
            return "lost: silent tunnels"
        time.sleep(0.02)
    faults = [str(tunnel.fault) for tunnel in tunnels if tunnel.fault is not None]
    if faults:
        return f"lost: {len(faults)} tunnels: {faults[0]}"
    return f"alive {len(tunnels)} {sum(tunnel.echoes for tunnel in tunnels)}"


def main():
    threading.Thread(target=backend, daemon=True).start()
    time.sleep(0.2)
    tunnels = [Tunnel() for _ in range(TUNNELS)]
    print("open", flush=True)
    for _ in sys.stdin:
        print(report(tunnels), flush=True)


main()
