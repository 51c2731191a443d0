// One backend: an ordinary Socket.IO or Engine.IO application on an unmodified server.
//
//   node server.js 2|3|4                  socket.io of that major version
//   node server.js engine1|engine3|engine6  engine.io alone
//
// Prints {"port":N} once it listens, and ends when its standard input ends, so that it never outlives the test that
// started it. BACKEND_NAME is the name it answers to `whoami`. It knows nothing of the proxy. GET /session?id=SID tells
// a scenario, directly and not through the proxy, what the server thinks of a session.
"use strict";

const http = require("http");

const NAME = process.env.BACKEND_NAME || "backend";

/// Every Socket.IO path the application serves; each is a server of its own on the same port.
const PATHS = {
  "/socket.io": {},
  "/app/chat.io": {},
  // Silent for longer than any idle test: no ping crosses the tunnel, a poll is held all the time.
  "/quiet": { pingInterval: 200000 },
  // Compresses even the Engine.IO handshake for a client that accepts it.
  "/compressed": { httpCompression: { threshold: 0 } },
  "/cookie": { cookie: "io" },
  // Issues the sids that every other backend issues too.
  "/counting": { counts: true },
  // The first backend takes its time to accept a session, as a busy one does.
  "/sluggish": { allowRequest: (_, accept) => setTimeout(accept, NAME === "backend-1" ? 2000 : 0, null, true) },
};

/// Options of every path: room for 1 MB payloads, and compressed frames for clients that ask for them.
const COMMON = { maxHttpBufferSize: 1e7, perMessageDeflate: { threshold: 0 } };

/// The Engine.IO servers of this process.
const engines = [];

function serveSocketIo(version, server) {
  const { Server } = version === 2 ? { Server: require("socket.io-v2") } : require(`socket.io-v${version}`);
  for (const [path, options] of Object.entries(PATHS)) {
    const later = version === 2 ? {} : { allowEIO3: true, cors: { origin: true, credentials: true } };
    const io = new Server(server, { path, serveClient: false, ...COMMON, ...later, ...options });
    engines.push(io.engine);
    let issued = 0;
    if (options.counts) io.engine.generateId = () => String(++issued);
    for (const namespace of ["/", "/admin"]) {
      io.of(namespace).on("connection", (socket) => serveSocket(io.of(namespace), socket));
    }
  }
}

function serveSocket(namespace, socket) {
  socket.on("echo", (value, acknowledge) => acknowledge(value));
  socket.on("back", (value) => socket.emit("back", value));
  socket.on("whoami", (acknowledge) =>
    acknowledge({ backend: NAME, transport: socket.conn.transport.name, id: socket.id, namespace: namespace.name }),
  );
  socket.on("join", (room, acknowledge) => {
    socket.join(room);
    acknowledge(room);
  });
  socket.on("say", (room, text) => namespace.to(room).emit("said", text));
  socket.on("bytes", (size) => socket.emit("bytes", pattern(size)));
  socket.on("later", (delay_ms) => setTimeout(() => socket.emit("tick", delay_ms), delay_ms));
  socket.on("beat", (interval_ms) => {
    const beat = setInterval(() => socket.emit("tick", interval_ms), interval_ms);
    socket.on("disconnect", () => clearInterval(beat));
  });
  socket.on("stream", (count) => streamNumbers(socket, 0, count));
  socket.on("die", () => process.exit(0));
}

/// Emits 0, 1, ... count-1, each on its own turn of the event loop, so that they spread over polls and frames.
function streamNumbers(socket, next, count) {
  if (next === count) return;
  socket.emit("number", next);
  setImmediate(streamNumbers, socket, next + 1, count);
}

function pattern(size) {
  return Buffer.from(Array.from({ length: size }, (_, index) => index & 255));
}

function serveEngineIo(generation, server) {
  // engine.io up to 6.6 offers both spellings; 1.8 takes the older option set.
  const engine = require(`engine.io-v${generation}`).attach(server, { ...COMMON, allowEIO3: true });
  engine.on("connection", (socket) => {
    socket.on("message", (data) => {
      if (data === "whoami") socket.send(JSON.stringify({ backend: NAME, transport: socket.transport.name }));
      else socket.send(data);
    });
  });
}

/// {known, held}: whether the session lives, and whether a poll of it waits for something to say.
function describeSession(request, response) {
  const sid = new URL(request.url, "http://localhost").searchParams.get("id");
  const session = engines.map((engine) => engine.clients[sid]).find(Boolean);
  const { name, writable } = session?.transport ?? {};
  response.end(JSON.stringify({ known: session !== undefined, held: name === "polling" && writable === true }));
}

const kind = process.argv[2];
const server = http.createServer(describeSession);
if (/^engine[136]$/.test(kind)) serveEngineIo(Number(kind.slice("engine".length)), server);
else if (/^[234]$/.test(kind)) serveSocketIo(Number(kind), server);
else throw new Error(`unknown kind ${kind}: 2, 3, 4, engine1, engine3 or engine6`);

server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
process.stdin.on("end", () => process.exit(0)).resume();
