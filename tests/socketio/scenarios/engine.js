// Engine.IO without Socket.IO above it: the raw clients of generations 3 and 6 against raw servers.
"use strict";

const assert = require("assert/strict");

const MESSAGES = 60;

/// The engine.io-client inside socket.io-client 4, or the one inside socket.io-client 2, which speaks EIO=3.
function create({ url, version }, options) {
  if (version === 4) return new (require("engine.io-client-v6").Socket)(url, options);
  return require("engine.io-client-v3")(url, options);
}

function open(context, options) {
  const socket = create(context, options);
  socket.binaryType = "arraybuffer";
  const inbox = [];
  const waiting = [];
  let failure = null;
  const settle = () => {
    while (waiting.length > 0 && (failure || inbox.length > 0)) {
      const { resolve, reject } = waiting.shift();
      if (inbox.length > 0) resolve(inbox.shift());
      else reject(failure);
    }
  };
  const fail = (error) => {
    failure = error instanceof Error ? error : new Error(`closed: ${error}`);
    settle();
  };
  socket.on("message", (data) => {
    inbox.push(data);
    settle();
  });
  socket.on("error", fail);
  socket.on("close", fail);
  const message = () => new Promise((resolve, reject) => (waiting.push({ resolve, reject }), settle()));
  const opened = new Promise((resolve, reject) => (socket.once("open", resolve), socket.once("error", reject)));
  return { socket, opened, message };
}

async function exchange(context, transports) {
  const { socket, opened, message } = open(context, { transports });
  await opened;
  const upgraded = transports.length === 1 ? null : new Promise((resolve) => socket.once("upgrade", resolve));
  socket.send("whoami");
  const { backend } = JSON.parse(await message());
  for (let number = 0; number < MESSAGES; number++) {
    socket.send(`message ${number}`);
    assert.equal(await message(), `message ${number}`);
    if (number === MESSAGES / 2) await upgraded;
  }
  const bytes = Buffer.from(Array.from({ length: 5000 }, (_, index) => index & 255));
  socket.send(bytes);
  assert.deepEqual(Buffer.from(await message()), bytes);
  socket.send("whoami");
  const end = JSON.parse(await message());
  assert.equal(end.backend, backend);
  assert.equal(end.transport, transports.at(-1));
  socket.removeAllListeners("close");
  socket.close();
  return { backend };
}

module.exports = {
  engine_polling: { run: (context) => exchange(context, ["polling"]) },
  engine_upgrade: { run: (context) => exchange(context, ["polling", "websocket"]) },
  engine_websocket: { run: (context) => exchange(context, ["websocket"]) },
};
