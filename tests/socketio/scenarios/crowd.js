// Many clients from one address, and clients whose backend dies.
"use strict";

const assert = require("assert/strict");
const { connect } = require("../clients.js");
const { request } = require("../engineio.js");

const CLIENTS = 200;
/// The most a backend may get, as a multiple of its equal share.
const SHARE_MAX = 1.5;

/// 200 sessions open at once: nobody meets an error, and no backend gets more than 1.5 times its share.
async function crowd(context, options) {
  const opening = Array.from({ length: CLIENTS }, () => connect(context, options));
  return judgeShares(context, await Promise.all(opening), options);
}

/// The same with clients that come one after the other, each when a request to an idle backend took its time, while
/// one backend needs longer for a handshake than all of them take to come.
async function crowd_sluggish(context) {
  const options = { path: "/sluggish/", transports: ["polling"] };
  const opening = [];
  while (opening.length < CLIENTS) {
    opening.push(connect(context, options));
    await request(`${context.backends.at(-1)}/session?id=none`);
  }
  return judgeShares(context, await Promise.all(opening), options);
}

async function judgeShares(context, clients, options) {
  const sessions = {};
  await Promise.all(
    clients.map(async (client, index) => {
      assert.equal(await client.ask("echo", index), index);
      if (options.transports === undefined) await client.upgraded();
      const { backend } = await client.ask("whoami");
      sessions[backend] = (sessions[backend] ?? 0) + 1;
    }),
  );
  const most = (CLIENTS / context.backends.length) * SHARE_MAX;
  for (const [backend, count] of Object.entries(sessions)) {
    assert.ok(count <= most, `${backend} holds ${count} of ${CLIENTS} sessions: ${JSON.stringify(sessions)}`);
  }
  for (const client of clients) client.close();
  return { sessions };
}

/// The backend of a session ends; the client connects again by itself and lives on, on another one.
/// Needs backends of its own: it ends two of three, one under a polling session and one under a WebSocket.
async function reconnect(context) {
  const killed = [];
  for (const transports of [["polling"], ["websocket"]]) {
    const io = require(`socket.io-client-v${context.version}`);
    const socket = io(context.url, { forceNew: true, transports, reconnectionDelay: 20, reconnectionDelayMax: 100 });
    const next = (event) => new Promise((resolve) => socket.once(event, resolve));
    const ask = (event, ...values) => new Promise((resolve) => socket.emit(event, ...values, resolve));
    await next("connect");
    const { backend } = await ask("whoami");
    const [gone, again] = [next("disconnect"), next("connect")];
    socket.emit("die");
    await gone;
    await again;
    killed.push(backend);
    const after = await ask("whoami");
    assert.ok(!killed.includes(after.backend), `${after.backend} should be dead`);
    assert.equal(await ask("echo", "alive"), "alive");
    socket.close();
  }
  return { killed };
}

module.exports = {
  crowd: { run: (context) => crowd(context, {}), oneLaneAtATime: true },
  crowd_polling: { run: (context) => crowd(context, { transports: ["polling"] }), oneLaneAtATime: true },
  crowd_websocket: { run: (context) => crowd(context, { transports: ["websocket"] }), oneLaneAtATime: true },
  crowd_sluggish: { run: crowd_sluggish, oneLaneAtATime: true },
  reconnect: { run: reconnect, oneLaneAtATime: true },
};
