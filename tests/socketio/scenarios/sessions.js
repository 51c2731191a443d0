// What an application does in a session, with the real clients of socket.io 2, 3 and 4.
"use strict";

const assert = require("assert/strict");
const { connect } = require("../clients.js");
const { web } = require("../engineio.js");

const POLLING = { transports: ["polling"] };
const WEBSOCKET = { transports: ["websocket"] };
const ROUND_TRIPS = 40;
const MEGABYTE = 1 << 20;

/// Text that JSON, length prefixes and UTF-8 each treat differently.
const AWKWARD_TEXT = 'plain, "quoted", \\back\\slashed\n, ümläut, 漢字, 🚢, \u2028, end';

function pattern(size) {
  return Buffer.from(Array.from({ length: size }, (_, index) => (index * 7 + (index >> 8)) & 255));
}

/// Text of exactly `size` characters in which no two kilobytes are equal.
function longText(size) {
  let text = "";
  for (let block = 0; text.length < size; block++) text += `<${block}>`.padEnd(1024, "abcdefghijklmnopqrstuvwxyz");
  return text.slice(0, size);
}

/// Asks `ROUND_TRIPS` times, one after the other; every answer must be that of its question, from one backend.
async function roundTrips(client, transport) {
  const { backend } = await client.ask("whoami");
  for (let number = 0; number < ROUND_TRIPS; number++) {
    assert.equal(await client.ask("echo", number), number);
  }
  assert.equal(await client.ask("echo", AWKWARD_TEXT), AWKWARD_TEXT);
  const end = await client.ask("whoami");
  assert.equal(end.backend, backend, "the session changed its backend");
  assert.equal(end.transport, transport);
  assert.equal(client.transport, transport);
  return { backend };
}

async function polling(context) {
  const agent = new (web(context.url).Agent)({ keepAlive: true });
  const client = await connect(context, { ...POLLING, agent });
  const found = await roundTrips(client, "polling");
  client.close();
  return found;
}

/// An agent whose WebSocket connections wait until `open` is called: the upgrade starts when the scenario says so.
function gateTo(url) {
  return new (class extends web(url).Agent {
    constructor() {
      super();
      this.opened = new Promise((resolve) => (this.open = resolve));
    }

    createConnection(options, created) {
      const wait = options.headers?.Upgrade ? this.opened : Promise.resolve();
      wait.then(() => created(null, super.createConnection(options)));
    }
  })();
}

/// Numbers cross in both directions before, during and after the upgrade; each arrives once and in order.
async function upgrade(context) {
  const gate = gateTo(context.url);
  const client = await connect(context, { agent: gate });
  const [back, pushed] = [[], []];
  client.socket.on("back", (number) => back.push(number));
  client.socket.on("number", (number) => pushed.push(number));
  const before = await client.ask("whoami");
  client.socket.emit("stream", 500);
  const sentOn = { polling: 0, websocket: 0 };
  let sent = 0;
  while (sentOn.websocket < 50) {
    if (sent === 40) gate.open();
    sentOn[client.transport] += 1;
    client.socket.emit("back", sent++);
    if (sent % 8 === 0) await client.ask("echo", sent);
    assert.ok(sent < 100000, "the upgrade does not finish");
  }
  const end = await client.ask("whoami");
  while (pushed.length < 500) await client.until("number");
  assert.equal(before.transport, "polling");
  assert.equal(end.transport, "websocket");
  assert.equal(end.backend, before.backend);
  assert.deepEqual(back, [...Array(sent).keys()], "client to server to client");
  assert.deepEqual(pushed, [...Array(500).keys()], "server to client");
  client.close();
  return { backend: end.backend, sentOn };
}

async function websocket(context) {
  const client = await connect(context, WEBSOCKET);
  const found = await roundTrips(client, "websocket");
  client.close();
  return found;
}

/// Bytes of every value, in acknowledgements and in events, alone and beside text.
async function binary(context) {
  for (const options of [POLLING, WEBSOCKET, { ...POLLING, forceBase64: true }]) {
    const client = await connect(context, options);
    const bytes = pattern(70000);
    assert.deepEqual(Buffer.from(await client.ask("echo", bytes)), bytes);
    const mixed = await client.ask("echo", { text: AWKWARD_TEXT, bytes, list: [1, bytes.subarray(0, 3)] });
    assert.equal(mixed.text, AWKWARD_TEXT);
    assert.deepEqual(Buffer.from(mixed.bytes), bytes);
    assert.deepEqual(Buffer.from(mixed.list[1]), bytes.subarray(0, 3));
    const event = client.until("bytes");
    client.socket.emit("bytes", 300);
    assert.deepEqual([...Buffer.from(await event)], Array.from({ length: 300 }, (_, index) => index & 255));
    client.close();
  }
}

/// One megabyte of text and one of bytes in one message each way, on both transports.
async function large(context) {
  for (const options of [POLLING, WEBSOCKET]) {
    const client = await connect(context, options);
    const text = longText(MEGABYTE);
    assert.ok((await client.ask("echo", text)) === text, "1 MB of text came back changed");
    const bytes = pattern(MEGABYTE);
    assert.ok(Buffer.from(await client.ask("echo", bytes)).equals(bytes), "1 MB of bytes came back changed");
    client.close();
  }
}

/// The extension is negotiated end to end, and compressed frames of every size class pass.
async function deflate(context) {
  const client = await connect(context, { ...WEBSOCKET, perMessageDeflate: { threshold: 0 } });
  const { extensions } = client.engine.transport.ws;
  assert.match(Object.keys(extensions).concat(extensions).join(), /permessage-deflate/);
  for (const size of [1, 100, 1000, 100000, MEGABYTE]) {
    const text = longText(size);
    assert.ok((await client.ask("echo", text)) === text, `${size} characters came back changed`);
  }
  client.close();
}

async function custom_path(context) {
  const client = await connect(context, { path: "/app/chat.io/" });
  assert.equal(await client.ask("echo", "there"), "there");
  await client.upgraded();
  const found = await roundTrips(client, "websocket");
  client.close();
  return found;
}

/// Two namespaces of one application, each on its own connection and both multiplexed over one.
async function namespaces(context) {
  for (const options of [POLLING, WEBSOCKET]) {
    const root = await connect(context, options);
    const admin = root.socket.io.socket("/admin");
    await root.guard(new Promise((resolve) => admin.once("connect", resolve)));
    const ask = (socket) => root.guard(new Promise((resolve) => socket.emit("whoami", resolve)));
    const [outer, inner] = await Promise.all([ask(root.socket), ask(admin)]);
    assert.equal(outer.namespace, "/");
    assert.equal(inner.namespace, "/admin");
    assert.equal(inner.backend, outer.backend);
    assert.equal(outer.id, root.socket.id, "client and server disagree on socket.id");
    assert.equal(inner.id, admin.id, "client and server disagree on socket.id");
    root.close();
    const alone = await connect(context, { ...options, namespace: "/admin" });
    assert.equal((await alone.ask("whoami")).namespace, "/admin");
    alone.close();
  }
}

/// A room is local to its backend: of more clients than backends, two share one and hear each other.
async function rooms(context) {
  const clients = await Promise.all(Array.from({ length: context.backends.length + 1 }, () => connect(context, POLLING)));
  const names = await Promise.all(clients.map(async (client) => (await client.ask("whoami")).backend));
  const first = names.findIndex((name, index) => names.indexOf(name, index + 1) > 0);
  const second = names.indexOf(names[first], first + 1);
  const room = `room of ${clients[first].socket.id}`;
  await Promise.all([first, second].map((index) => clients[index].ask("join", room)));
  const heard = [first, second].map((index) => clients[index].until("said"));
  clients[first].socket.emit("say", room, AWKWARD_TEXT);
  assert.deepEqual(await Promise.all(heard), [AWKWARD_TEXT, AWKWARD_TEXT]);
  for (const client of clients) client.close();
}

/// Every request of the session on a TCP connection of its own, so on any worker.
async function many_connections(context) {
  const agent = new (web(context.url).Agent)({ keepAlive: false });
  let connections = 0;
  const createConnection = agent.createConnection;
  agent.createConnection = function (...argumentsOfNode) {
    connections += 1;
    return createConnection.apply(this, argumentsOfNode);
  };
  const client = await connect(context, { ...POLLING, agent });
  const found = await roundTrips(client, "polling");
  client.close();
  assert.ok(connections > ROUND_TRIPS, `only ${connections} connections`);
  return { ...found, connections };
}

/// The server speaks first while a poll waits.
async function server_event(context) {
  for (const options of [POLLING, WEBSOCKET]) {
    const client = await connect(context, options);
    const tick = client.until("tick");
    client.socket.emit("later", 1200);
    assert.equal(await tick, 1200);
    client.close();
  }
}

const RUNS = {
  polling,
  upgrade,
  websocket,
  binary,
  large,
  deflate,
  custom_path,
  namespaces,
  rooms,
  many_connections,
  server_event,
};

module.exports = Object.fromEntries(Object.entries(RUNS).map(([name, run]) => [name, { run }]));
