// Silence: longer than the minute after which proxies like to cut what does not speak.
"use strict";

const assert = require("assert/strict");
const { connect } = require("../clients.js");

const SILENCE_MS = 66000;

/// Four sessions say nothing for 66 s: on a path whose server does not ping in that time (not one byte crosses the
/// tunnel, one poll is held throughout) and on one with the default heartbeat. All of them then still work.
async function idle(context) {
  const sessions = [];
  for (const path of ["/quiet/", "/socket.io/"]) {
    for (const transports of [["websocket"], ["polling"]]) sessions.push(await connect(context, { path, transports }));
  }
  const before = await Promise.all(sessions.map((client) => client.ask("whoami")));
  await Promise.all(sessions.map((client) => client.guard(new Promise((resolve) => setTimeout(resolve, SILENCE_MS)))));
  const after = await Promise.all(sessions.map((client) => client.ask("whoami")));
  assert.deepEqual(after, before);
  for (const client of sessions) client.close();
}

module.exports = { idle: { run: idle } };
