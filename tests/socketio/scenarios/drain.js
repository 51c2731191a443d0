// What sessions by polling see when the backend of a third of them is drained.
"use strict";

const assert = require("assert/strict");
const { request } = require("../engineio.js");

const SESSIONS = 60;
/// The one that the test drains, and how long it lets that take.
const DRAINED = "backend-1";
const DRAIN_MS = 6000;
/// How long a client may take to find another backend.
const BACK_MS = 20000;

/// A session that connects again by itself, and keeps an account of what it met.
async function open(context) {
  const io = require(`socket.io-client-v${context.version}`);
  const options = { forceNew: true, transports: ["polling"], reconnectionDelay: 20, reconnectionDelayMax: 200 };
  const socket = io(context.url, options);
  const session = { socket, connects: 0, ends: [], errors: [] };
  session.ask = (event, ...values) => new Promise((resolve) => socket.emit(event, ...values, resolve));
  for (const emitter of [socket, socket.io]) {
    for (const event of ["connect_error", "connect_timeout", "error", "reconnect_error", "reconnect_failed"]) {
      emitter.on(event, (error) => session.errors.push(`${event}: ${error?.message ?? error}`));
    }
  }
  socket.on("disconnect", (reason) => session.ends.push({ reason, at: Date.now() }));
  socket.on("connect", () => (session.connects += 1));
  await new Promise((resolve) => socket.once("connect", resolve));
  session.sid = socket.io.engine.id;
  return Object.assign(session, await session.ask("whoami"));
}

/// The sessions of the drained backend are closed one by one over the time of the drain, each by a close packet, and go
/// on at another backend; no other session notices.
async function drained(context) {
  const sessions = await Promise.all(Array.from({ length: SESSIONS }, () => open(context)));
  // The handshake of one more tells the test that all are there; the drain may meet it in the middle of anything else.
  const io = require(`socket.io-client-v${context.version}`);
  const last = io(context.url, { forceNew: true, transports: ["polling"] });
  const hit = sessions.filter((one) => one.backend === DRAINED);
  const others = sessions.filter((one) => one.backend !== DRAINED);
  assert.ok(hit.length >= SESSIONS / 6, `only ${hit.length} sessions are on ${DRAINED}`);
  const began = Date.now();
  while (hit.some((one) => one.connects < 2)) {
    const missing = hit.filter((one) => one.connects < 2).map(({ ends, errors }) => ({ ends, errors }));
    assert.ok(Date.now() - began < DRAIN_MS + BACK_MS, `not back: ${JSON.stringify(missing)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  for (const one of hit) {
    assert.deepEqual([one.ends.map(({ reason }) => reason), one.errors], [["transport close"], []]);
    assert.notEqual((await one.ask("whoami")).backend, DRAINED);
    const { known } = JSON.parse((await request(`${context.backends[0]}/session?id=${one.sid}`)).body);
    assert.equal(known, false, "the session lives on at the drained backend");
  }
  for (const one of others) {
    const { backend, id } = await one.ask("whoami");
    assert.deepEqual([backend, id, one.ends, one.errors], [one.backend, one.id, [], []]);
  }
  const times = hit.map((one) => one.ends[0].at).sort((a, b) => a - b);
  const took_ms = times.at(-1) - times[0];
  assert.ok(took_ms > DRAIN_MS / 3, `all ${hit.length} were closed within ${took_ms} ms`);
  for (const { socket } of [...sessions, { socket: last }]) socket.close();
  return { hit: hit.length, others: others.length, took_ms };
}

module.exports = { drained: { run: drained } };
