// Engine.IO by hand: what the real clients of this machine cannot be made to send, but others do.
"use strict";

const assert = require("assert/strict");
const zlib = require("zlib");
const { Session, request } = require("../engineio.js");

/// Enough requests that a session whose requests were spread over two backends could not survive by luck.
const REQUESTS = 12;
/// An abort takes well under 100 ms; the rest is room for a busy machine, and far below any ping timeout.
const ABORT_LIMIT_MS = 10000;
const ORIGIN = "http://shop.example";

async function talk(session) {
  const { backend } = await session.ask("whoami");
  for (let number = 0; number < REQUESTS; number++) assert.equal(await session.ask("echo", number), number);
  assert.equal((await session.ask("whoami")).backend, backend);
}

/// Script answers and form posts, as browsers without CORS send them.
async function jsonp({ url, generations }) {
  for (const eio of generations) {
    for (const index of [0, 7]) {
      const session = await new Session(url, { eio, jsonp: index }).connect();
      await talk(session);
      assert.equal(await session.ask("echo", 'a "quoted" \\ and a slash/'), 'a "quoted" \\ and a slash/');
      await session.close();
    }
  }
}

/// EIO=3 with base64 and with its binary framing; both carry the same bytes.
async function eio3_framing({ url }) {
  const expected = Buffer.from(Array.from({ length: 300 }, (_, index) => index & 255));
  for (const base64 of [false, true]) {
    const session = await new Session(url, { eio: 3, base64 }).connect();
    await talk(session);
    await session.emit("bytes", 300);
    const bytes = await session.receive(Buffer.isBuffer);
    assert.deepEqual(bytes, expected);
    assert.equal(/octet-stream/.test(session.answer.headers["content-type"]), !base64);
    await session.close();
  }
}

/// Preflights carry the sid of the request they announce, and socket.io 2 refuses one whose sid it does not know.
async function cors({ url, generations }) {
  for (const eio of generations) {
    const session = await new Session(url, { eio, headers: { Origin: ORIGIN } }).open();
    const allowed = () => {
      const origin = session.answer.headers["access-control-allow-origin"];
      assert.ok(origin === ORIGIN || origin === "*", `allow-origin: ${origin}`);
    };
    allowed();
    if (eio === 4) await session.send("40");
    for (let number = 0; number < REQUESTS; number++) {
      const preflight = await request(session.target(), {
        method: "OPTIONS",
        headers: {
          Origin: ORIGIN,
          "Access-Control-Request-Method": "POST",
          "Access-Control-Request-Headers": "content-type",
        },
      });
      assert.ok([200, 204].includes(preflight.status), `OPTIONS: ${preflight.status} ${preflight.body}`);
      assert.match(preflight.headers["access-control-allow-origin"], /shop\.example|\*/);
      assert.equal(await session.ask("echo", number), number);
      allowed();
    }
    await session.close();
  }
}

function percentEncoded(text) {
  return [...text].map((character) => `%${character.charCodeAt(0).toString(16).padStart(2, "0")}`).join("");
}

/// The sid may stand anywhere in the query, beside parameters that resemble it, and may be percent-encoded.
async function sid_positions({ url, generations }) {
  const eio = generations.at(-1);
  const forms = {
    first: (parameters, sid) => `sid=${sid}&${parameters}`,
    middle: (parameters, sid) => parameters.replace("&", `&sid=${sid}&`),
    last: (parameters, sid) => `${parameters}&t=PqR.0&sid=${sid}`,
    decoys: (parameters, sid) => `xsid=AAAA&${parameters}&sidx=BBBB&t=sid&sid=${sid}&Sid=CCCC`,
    "empty parameters": (parameters, sid) => `&&${parameters}&&=&flag&sid=${sid}&`,
    "percent-encoded": (parameters, sid) => `${parameters}&sid=${percentEncoded(sid)}`,
    "in upper case hex": (parameters, sid) => `${parameters}&sid=${percentEncoded(sid).toUpperCase()}`,
  };
  for (const [form, query] of Object.entries(forms)) {
    const session = new Session(url, { eio, query });
    try {
      await session.connect();
      await talk(session);
      await session.close();
    } catch (error) {
      throw new Error(`sid ${form}: ${error.message}`);
    }
  }
}

/// A server that compresses everything: the sid is learned all the same, and polls stay compressed or not as agreed.
async function compressed({ url, generations }) {
  const decoders = { gzip: zlib.gunzipSync, deflate: zlib.inflateSync };
  const plain = ({ headers, body }) => (decoders[headers["content-encoding"]] ?? ((identity) => identity))(body);
  const eio = generations.at(-1);
  const headers = { "Accept-Encoding": "gzip, deflate" };
  const session = await new Session(url, { eio, path: "/compressed/", headers, plain }).connect();
  await talk(session);
  const text = "repetition ".repeat(1000);
  assert.equal(await session.ask("echo", text), text);
  await session.close();
}

/// The application's own cookie passes through, and the session does not need it to come back.
async function cookie({ url, generations }) {
  const eio = generations.at(-1);
  const session = await new Session(url, { eio, path: "/cookie/" }).open();
  assert.match(session.answer.headers["set-cookie"].join(), new RegExp(`io=${session.sid}`));
  if (eio === 4) await session.send("40");
  await talk(session);
  await session.close();
}

/// A poll is held until the server has something to say: one GET brings it, however long that takes.
async function held_poll({ url, generations }) {
  for (const eio of generations) {
    const session = await new Session(url, { eio }).connect();
    await session.emit("later", 1000);
    const packets = await session.poll();
    assert.match(packets.join(), /tick/);
    await session.close();
  }
}

/// After the close packet the session is gone: a later request is answered 400, not hung and not accepted.
async function disconnect({ url, generations }) {
  for (const eio of generations) {
    const session = await new Session(url, { eio }).connect();
    await session.close();
    const answer = await request(session.target());
    assert.equal(answer.status, 400, `after the close packet: ${answer.status} ${answer.body}`);
    assert.equal((await session.post("2")).status, 400);
  }
}

/// What the server that issued `sid` says of it, asked directly; {known: false} if none knows it.
async function stateOf(sid, backends) {
  const answers = await Promise.all(backends.map((backend) => request(`${backend}/session?id=${sid}`)));
  const states = answers.map((answer) => JSON.parse(answer.body));
  return states.find((state) => state.known) ?? { known: false, held: false };
}

/// Asks the servers until `wanted` holds of the session; the milliseconds it took, at most `limit_ms`.
async function waitForState({ sid }, backends, limit_ms, wanted) {
  const started = Date.now();
  for (;;) {
    const state = await stateOf(sid, backends);
    if (wanted(state)) return Date.now() - started;
    assert.ok(Date.now() - started < limit_ms, `after ${limit_ms} ms the session is still ${JSON.stringify(state)}`);
  }
}

/// A client that gives up on its held poll ends the session at the backend at once; without that its next poll would
/// overlap the abandoned one.
async function aborted_poll({ url, generations, backends }) {
  const found = {};
  for (const eio of generations) {
    const session = await new Session(url, { eio }).connect();
    let held;
    const poll = assert.rejects(session.poll({ started: (sent) => (held = sent) }));
    await waitForState(session, backends, 10000, (state) => state.held);
    held.destroy();
    await poll;
    found[`abort_ms_eio${eio}`] = await waitForState(session, backends, ABORT_LIMIT_MS, (state) => !state.known);
    assert.equal((await session.post('42["nothing"]')).status, 400);
  }
  return found;
}

/// A sid nobody issued is refused, by whichever backend is asked, and refused quickly.
async function unknown_sid({ url, generations }) {
  const eio = generations.at(-1);
  const session = new Session(url, { eio });
  session.sid = "AAAAAAAAAAAAAAAAAAAA";
  for (let number = 0; number < 4; number++) {
    const answer = await request(session.target());
    assert.equal(answer.status, 400, `${answer.status} ${answer.body}`);
    assert.equal((await session.post("2")).status, 400);
  }
}

const RUNS = {
  jsonp,
  eio3_framing,
  cors,
  sid_positions,
  compressed,
  cookie,
  held_poll,
  disconnect,
  aborted_poll,
  unknown_sid,
};

module.exports = Object.fromEntries(Object.entries(RUNS).map(([name, run]) => [name, { run }]));
