// Sessions that talk all the time while the daemon is replaced under them.
"use strict";

const assert = require("assert/strict");
const { connect } = require("../clients.js");

const TALK_MS = 20000;

/// Which backend, and which session there. (What carries it changes.)
async function session(client) {
  const { backend, id } = await client.ask("whoami");
  return { backend, id };
}

/// Twelve sessions, a third each by polling, by WebSocket and upgraded from the one to the other, ask the server who
/// it is again and again for 20 s, and others begin meanwhile. None is disconnected, none is answered by another.
async function handover(context) {
  const ways = [["polling"], ["websocket"], ["polling", "websocket"]];
  const until = Date.now() + TALK_MS;
  const talk = async (transports) => {
    const client = await connect(context, { transports });
    const first = await session(client);
    while (Date.now() < until) {
      assert.deepEqual(await session(client), first);
      await client.guard(new Promise((resolve) => setTimeout(resolve, 20)));
    }
    client.close();
  };
  const come_and_go = async () => {
    while (Date.now() < until) {
      for (const transports of ways) {
        const client = await connect(context, { transports });
        const first = await session(client);
        assert.deepEqual(await session(client), first);
        client.close();
      }
    }
  };
  const all = Array.from({ length: 12 }, (_, number) => talk(ways[number % ways.length]));
  await Promise.all([...all, come_and_go()]);
}

module.exports = { handover: { run: handover } };
