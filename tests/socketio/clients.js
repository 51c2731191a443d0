// The unmodified Socket.IO clients of every generation behind one small face: connect, ask, next, close.
// Every failure of a connection (error, disconnect) rejects whatever waits for it.
"use strict";

const { once, EventEmitter } = require("events");

/// Connects a client of `version` and resolves once its namespace is connected.
/// `options` go to the client unchanged, `namespace` chooses another one than "/".
async function connect({ url, version }, { namespace = "/", ...options } = {}) {
  const io = require(`socket.io-client-v${version}`);
  const socket = io(url + namespace, {
    forceNew: true,
    reconnection: false,
    perMessageDeflate: false,
    timeout: 20000,
    ...options,
  });
  const client = new Client(socket);
  await client.until("connect");
  return client;
}

class Client {
  constructor(socket) {
    this.socket = socket;
    this.failure = new EventEmitter().setMaxListeners(0);
    this.failed = null;
    for (const event of ["connect_error", "error", "connect_timeout"]) socket.on(event, (error) => this.fail(error));
    socket.on("disconnect", (reason) => this.fail(new Error(`disconnected: ${reason}`)));
  }

  fail(error) {
    if (this.closing || this.failed) return;
    this.failed = error instanceof Error ? error : new Error(String(error));
    this.failure.emit("failed", this.failed);
  }

  /// Settles as `promise` does, or rejects as soon as the connection fails.
  async guard(promise) {
    if (this.failed) throw this.failed;
    let broken;
    const failure = new Promise((_, reject) => this.failure.once("failed", (broken = reject)));
    try {
      return await Promise.race([promise, failure]);
    } finally {
      this.failure.off("failed", broken);
    }
  }

  /// The next occurrence of an event of the socket; its first value.
  until(event) {
    return this.guard(new Promise((resolve) => this.socket.once(event, resolve)));
  }

  /// Calls the server's `event` and resolves to its acknowledgement.
  ask(event, ...values) {
    return this.guard(new Promise((resolve) => this.socket.emit(event, ...values, resolve)));
  }

  get engine() {
    return this.socket.io.engine;
  }

  get transport() {
    return this.engine.transport.name;
  }

  /// Resolves once the client has moved to WebSocket.
  async upgraded() {
    if (this.transport !== "websocket") await this.guard(once(this.engine, "upgrade"));
  }

  close() {
    this.closing = true;
    this.socket.close();
  }
}

module.exports = { Client, connect };
