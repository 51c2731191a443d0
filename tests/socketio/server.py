"""One backend: an ordinary python-socketio application on uvicorn.

Speaks the same events as server.js, prints {"port":N} once it listens, and ends when its standard input ends.
BACKEND_NAME is the name it answers to `whoami`. It knows nothing of the proxy.
"""

import asyncio
import json
import os
import sys

import socketio
import uvicorn
from engineio.payload import Payload

# The documented knob for clients that put more than 16 packets into one POST.
Payload.max_decode_packets = 500

NAME = os.environ.get("BACKEND_NAME", "backend")

# Every Socket.IO path the application serves, as in server.js.
PATHS = {
    "/socket.io": {},
    "/app/chat.io": {},
    "/quiet": {"ping_interval": 200},
    "/compressed": {"compression_threshold": 0},
    "/cookie": {"cookie": "io"},
}


def application():
    """Socket.IO servers with the events of the tests, one a path, each passing on what is not its own."""
    app = None
    for path, options in PATHS.items():
        sio = socketio.AsyncServer(
            async_mode="asgi", cors_allowed_origins="*", max_http_buffer_size=10_000_000, **options
        )
        for namespace in ("/", "/admin"):
            serve_namespace(sio, namespace)
        app = socketio.ASGIApp(sio, app, socketio_path=path)
    return app


def serve_namespace(sio, namespace):
    """Registers the events; a returned value is the acknowledgement."""

    @sio.on("echo", namespace=namespace)
    async def echo(_sid, value):
        return value

    @sio.on("back", namespace=namespace)
    async def back(sid, value):
        await sio.emit("back", value, to=sid, namespace=namespace)

    @sio.on("whoami", namespace=namespace)
    async def whoami(sid):
        return {
            "backend": NAME,
            "transport": sio.transport(sid, namespace),
            "id": sid,
            "namespace": namespace,
        }

    @sio.on("join", namespace=namespace)
    async def join(sid, room):
        await sio.enter_room(sid, room, namespace=namespace)
        return room

    @sio.on("say", namespace=namespace)
    async def say(_sid, room, text):
        await sio.emit("said", text, room=room, namespace=namespace)

    @sio.on("bytes", namespace=namespace)
    async def bytes_(sid, size):
        await sio.emit("bytes", bytes(index & 255 for index in range(size)), to=sid, namespace=namespace)

    @sio.on("later", namespace=namespace)
    async def later(sid, delay_ms):
        await asyncio.sleep(delay_ms / 1000)
        await sio.emit("tick", delay_ms, to=sid, namespace=namespace)

    @sio.on("beat", namespace=namespace)
    async def beat(sid, interval_ms):
        async def go_on():
            while sio.manager.is_connected(sid, namespace):
                await asyncio.sleep(interval_ms / 1000)
                await sio.emit("tick", interval_ms, to=sid, namespace=namespace)

        sio.start_background_task(go_on)

    @sio.on("stream", namespace=namespace)
    async def stream(sid, count):
        for number in range(count):
            await sio.emit("number", number, to=sid, namespace=namespace)
            await asyncio.sleep(0)

    @sio.on("die", namespace=namespace)
    async def die(_sid):
        os._exit(0)


async def main():
    config = uvicorn.Config(application(), host="127.0.0.1", port=0, log_level="warning", ws="wsproto", lifespan="off")
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    print(json.dumps({"port": server.servers[0].sockets[0].getsockname()[1]}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


asyncio.run(main())
