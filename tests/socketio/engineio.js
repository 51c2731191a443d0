// Engine.IO long polling spoken by hand over http.request, where the real clients cannot be steered: JSONP, base64 and
// binary framing of EIO=3, the position of the sid, preflights, aborts. Every request is one http.request that the
// scenario can see; nothing here retries.
"use strict";

const assert = require("assert/strict");
const http = require("http");
const https = require("https");

/// The module that speaks a URL's protocol.
function web(url) {
  return String(url).startsWith("https:") ? https : http;
}

/// Sends one request and resolves to its whole answer: {status, headers, body}.
/// `started`, if given, receives the ClientRequest, for scenarios that abort it.
function request(url, { method = "GET", headers = {}, body, agent = false, started } = {}) {
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { "Content-Length": Buffer.byteLength(body) };
    const sent = web(url).request(url, { method, headers: { ...length, ...headers }, agent });
    sent.on("error", reject);
    sent.on("response", (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () =>
        resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) }),
      );
    });
    if (started) started(sent);
    sent.end(body);
  });
}

/// Packets of a polling body; text packets as strings, binary ones as Buffers.
function decode(eio, headers, body) {
  if (eio === 4) return body.toString().split("\x1e").map(decodePacket);
  if (/octet-stream/.test(headers["content-type"])) return decodeBinaryPayload(body);
  return decodeTextPayload(body.toString());
}

function decodePacket(packet) {
  return packet[0] === "b" ? Buffer.from(packet.slice(1), "base64") : packet;
}

/// EIO=3 text: `<length in characters>:<packet>`, binary packets as `b4<base64>`.
function decodeTextPayload(text) {
  const packets = [];
  for (let rest = text; rest.length > 0; ) {
    const [, length] = /^(\d+):/.exec(rest);
    const start = length.length + 1;
    const packet = rest.slice(start, start + Number(length));
    packets.push(packet.startsWith("b4") ? Buffer.from(packet.slice(2), "base64") : packet);
    rest = rest.slice(start + Number(length));
  }
  return packets;
}

/// EIO=3 binary: 0 = text or 1 = binary, the length as one byte per decimal digit, 255, the packet.
function decodeBinaryPayload(bytes) {
  const packets = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(255, at);
    const length = Number([...bytes.subarray(at + 1, end)].join(""));
    const packet = bytes.subarray(end + 1, end + 1 + length);
    packets.push(bytes[at] === 0 ? packet.toString() : Buffer.from(packet.subarray(1)));
    at = end + 1 + length;
  }
  return packets;
}

function encode(eio, packets) {
  return eio === 4 ? packets.join("\x1e") : packets.map((packet) => `${packet.length}:${packet}`).join("");
}

/// One polling session. `options`: eio 3 or 4, path, base64, jsonp (the index `j`), headers, agent, `plain(answer)`,
/// which undoes a content coding, and `query(parameters, sid)`, which writes the query string of every later request.
class Session {
  constructor(url, options) {
    this.url = url;
    this.eio = 4;
    this.path = "/socket.io/";
    this.headers = {};
    this.agent = false;
    this.plain = ({ body }) => body;
    this.query = (parameters, sid) => `${parameters}&sid=${sid}`;
    this.acknowledgement = 0;
    this.inbox = [];
    Object.assign(this, options);
  }

  target() {
    const jsonp = this.jsonp === undefined ? "" : `&j=${this.jsonp}`;
    const parameters = `EIO=${this.eio}&transport=polling${this.base64 ? "&b64=1" : ""}${jsonp}`;
    return `${this.url}${this.path}?${this.sid ? this.query(parameters, this.sid) : parameters}`;
  }

  /// The Engine.IO handshake alone; leaves the sid in `this.sid`.
  async open() {
    const [first, ...rest] = await this.poll();
    assert.equal(first[0], "0", `first packet of the handshake: ${first}`);
    this.handshake = JSON.parse(first.slice(1));
    this.sid = this.handshake.sid;
    this.inbox.push(...rest);
    return this;
  }

  /// The Engine.IO handshake and the default namespace of Socket.IO.
  async connect() {
    await this.open();
    if (this.eio === 4) await this.send("40");
    await this.receive((packet) => typeof packet === "string" && packet.startsWith("40"));
    return this;
  }

  /// One GET; its packets.
  async poll(options) {
    const answer = await request(this.target(), { headers: this.headers, agent: this.agent, ...options });
    assert.equal(answer.status, 200, `GET ${this.target()}: ${answer.body}`);
    this.answer = answer;
    return decode(this.eio, answer.headers, this.unwrapped(this.plain(answer)));
  }

  unwrapped(body) {
    if (this.jsonp === undefined) return body;
    const [, index, literal] = /^___eio\[(\d+)\]\((".*")\);$/s.exec(body.toString());
    assert.equal(Number(index), this.jsonp);
    return Buffer.from(JSON.parse(literal));
  }

  /// Polls until a packet for which `wanted` holds has come, and takes it; answers pings on the way.
  async receive(wanted) {
    for (;;) {
      const index = this.inbox.findIndex(wanted);
      if (index >= 0) return this.inbox.splice(index, 1)[0];
      for (const packet of await this.poll()) {
        if (packet === "2") await this.send("3");
        else this.inbox.push(packet);
      }
    }
  }

  /// One POST; resolves to its answer, whatever the status.
  post(...packets) {
    const payload = encode(this.eio, packets);
    const form = this.jsonp !== undefined;
    const type = form ? "application/x-www-form-urlencoded" : "text/plain;charset=UTF-8";
    const body = form ? `d=${encodeURIComponent(payload)}` : payload;
    const headers = { ...this.headers, "Content-Type": type };
    return request(this.target(), { method: "POST", headers, body, agent: this.agent });
  }

  async send(...packets) {
    const answer = await this.post(...packets);
    assert.equal(answer.status, 200, `POST ${this.target()}: ${answer.body}`);
    assert.match(this.plain(answer).toString(), /^ok$/i);
  }

  /// Calls the server's `event` and resolves to its acknowledgement.
  async ask(event, ...values) {
    const number = this.acknowledgement++;
    await this.send(`42${number}${JSON.stringify([event, ...values])}`);
    const prefix = `43${number}[`;
    const packet = await this.receive((packet) => typeof packet === "string" && packet.startsWith(prefix));
    return JSON.parse(packet.slice(prefix.length - 1))[0];
  }

  emit(event, ...values) {
    return this.send(`42${JSON.stringify([event, ...values])}`);
  }

  /// Ends the session at the backend.
  async close() {
    await this.send("1");
  }
}

module.exports = { Session, request, web };
