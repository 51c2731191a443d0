// Hundreds of clients that connect at once, and once more when all of them have lost their connections.
"use strict";

const assert = require("assert/strict");
const { connect } = require("../clients.js");
const { request } = require("../engineio.js");

const CLIENTS = 300;
const WAYS = [["polling"], ["websocket"], ["polling", "websocket"]];

/// Clients that were there before talk on while the others storm in, are let in bit by bit, and all get in. Whoever is refused is told
/// when to come back.
async function storm(context) {
  const io = require(`socket.io-client-v${context.version}`);
  const living = await Promise.all(
    Array.from({ length: 12 }, (_, number) => connect(context, { transports: WAYS[number % WAYS.length] })),
  );
  const talks = living.map(async (client) => {
    const { id } = await client.ask("whoami");
    while (!client.done) {
      assert.equal((await client.ask("whoami")).id, id);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    client.close();
  });
  const options = { forceNew: true, reconnectionDelay: 200, reconnectionDelayMax: 2000 };
  const crowd = Array.from({ length: CLIENTS }, (_, number) => {
    const socket = io(context.url, { ...options, transports: WAYS[number % WAYS.length] });
    const client = { socket, connects: 0 };
    socket.on("connect", () => (client.connects += 1));
    return client;
  });
  const in_again = async (connects) => {
    while (crowd.some((client) => client.connects < connects)) await new Promise((resolve) => setTimeout(resolve, 50));
  };
  await refused(context);
  await in_again(1);
  for (const { socket } of crowd) socket.io.engine.close();
  await in_again(2);
  for (const { socket } of crowd) socket.close();
  for (const client of living) client.done = true;
  await Promise.all(talks);
}

/// Opens sessions until one is refused, as it must be while the storm lasts.
async function refused(context) {
  for (;;) {
    const { status, headers } = await request(`${context.url}/socket.io/?EIO=4&transport=polling`);
    if (status === 200) continue;
    const after = Number(headers["retry-after"]);
    assert.ok(status === 503 && after >= 1 && after <= 5, `${status}, Retry-After ${headers["retry-after"]}`);
    return;
  }
}

module.exports = { storm: { run: storm } };
