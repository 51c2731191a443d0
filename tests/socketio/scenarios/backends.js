// What sessions and newcomers see when a backend is killed or falls silent.
"use strict";

const assert = require("assert/strict");
const { connect } = require("../clients.js");

const WAYS = [["polling"], ["websocket"], ["polling", "websocket"]];
/// Seconds, not the 45 s after which a client notices a silent server by itself.
const AT_ONCE_MS = 10000;

/// 18 sessions, a third each by polling, by WebSocket and upgraded; one backend is killed. Its sessions end at once and
/// find another backend; no other session is disconnected or moves.
async function killed(context) {
  const io = require(`socket.io-client-v${context.version}`);
  const open = async (number) => {
    const options = { forceNew: true, transports: WAYS[number % WAYS.length], reconnectionDelay: 20, reconnectionDelayMax: 200 };
    const socket = io(context.url, options);
    const session = { socket, ends: 0, connects: 0 };
    session.ask = (event, ...values) => new Promise((resolve) => socket.emit(event, ...values, resolve));
    socket.on("disconnect", () => (session.ends += 1));
    socket.on("connect", () => (session.connects += 1));
    await new Promise((resolve) => socket.once("connect", resolve));
    return Object.assign(session, await session.ask("whoami"));
  };
  const sessions = await Promise.all(Array.from({ length: 18 }, (_, number) => open(number)));
  const victim = sessions[0].backend;
  const [hit, others] = [sessions.filter((one) => one.backend === victim), sessions.filter((one) => one.backend !== victim)];
  assert.ok(others.length > 0, "all sessions are on one backend");
  const began = Date.now();
  hit[0].socket.emit("die");
  while (hit.some((one) => one.connects < 2)) {
    assert.ok(Date.now() - began < AT_ONCE_MS, `not back: ${JSON.stringify(hit.map(({ ends, connects }) => ({ ends, connects })))}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  for (const one of hit) assert.notEqual((await one.ask("whoami")).backend, victim);
  for (const one of others) {
    const { backend, id } = await one.ask("whoami");
    assert.deepEqual([backend, id, one.ends], [one.backend, one.id, 0]);
  }
  for (const one of sessions) one.socket.close();
  return { hit: hit.length, others: others.length };
}

/// 30 clients come, talk and go. None sees an error.
async function newcomers(context) {
  const visit = async (number) => {
    const client = await connect(context, { transports: WAYS[number % WAYS.length] });
    assert.equal(await client.ask("echo", number), number);
    client.close();
  };
  await Promise.all(Array.from({ length: 30 }, (_, number) => visit(number)));
}

module.exports = { killed: { run: killed }, newcomers: { run: newcomers } };
