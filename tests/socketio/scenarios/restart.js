// A session that talks all the time while what is between it and its server is replaced.
"use strict";

const assert = require("assert/strict");
const { Client, connect } = require("../clients.js");
const { web } = require("../engineio.js");

/// How often the server says something, so that no poll is held for long.
const BEAT_MS = 100;

/// Resolves when the relay in front says that it has held requests back and let them go.
function passed(url) {
  return new Promise((resolve, reject) => {
    const request = web(url).get(`${url}/passed`, (response) => resolve(response.resume().statusCode));
    request.on("error", reject);
  });
}

/// By polling: the server answers as the same session before, while and after requests were held back.
async function restart(context) {
  const client = await connect(context, { transports: ["polling"] });
  const first = await client.ask("whoami");
  client.socket.emit("beat", BEAT_MS);
  await client.until("tick");
  let status;
  const passing = passed(context.url).then((found) => (status = found));
  while (!status) assert.deepEqual(await client.ask("whoami"), first);
  assert.equal(await passing, 204);
  for (let number = 0; number < 10; number++) {
    assert.equal(await client.ask("echo", number), number);
    await client.until("tick");
  }
  assert.deepEqual(await client.ask("whoami"), first);
  client.close();
  return first;
}

/// By polling: a poll that is held when what is in between dies ends its session, and the client comes back by itself,
/// with its first try.
async function held(context) {
  const client = await connect(context, { transports: ["polling"], reconnection: true, path: "/quiet" });
  const { socket } = client;
  const first = await client.ask("whoami");
  const lost = new Promise((resolve) => socket.once("disconnect", resolve));
  const back = new Promise((resolve) => socket.once("connect", resolve));
  const failed = new Promise((_, reject) => socket.io.once("reconnect_error", reject));
  const passing = passed(context.url);
  assert.equal(await lost, "transport error");
  await Promise.race([back, failed]);
  const second = new Client(socket);
  const again = await second.ask("whoami");
  assert.notEqual(again.id, first.id);
  assert.equal(await second.ask("echo", 1), 1);
  assert.equal(await passing, 204);
  second.close();
  return again;
}

/// A session with a sid that every backend has issued to somebody.
async function counting(context) {
  const client = await connect(context, { transports: ["polling"], path: "/counting/" });
  const first = await client.ask("whoami");
  for (let number = 0; number < 20; number++) assert.deepEqual(await client.ask("whoami"), first);
  client.close();
  return first;
}

module.exports = { restart: { run: restart }, held: { run: held }, counting: { run: counting } };
