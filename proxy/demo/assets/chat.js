// The chat page: one session for the chat, twenty more on request, all with the unmodified client.
// It shows what the client reports (transport, session id, events), nothing the proxy adds.
"use strict";

const EXTRA_SESSIONS = 20;
// A browser holds at most six HTTP/1.1 connections to one host, and every session holds one until
// it runs on WebSocket. More at a time would only wait for each other.
const OPENING_MAX = 4;
const LOG_LINES_MAX = 200;
const CHAT_LINES_MAX = 200;

const byId = (id) => document.getElementById(id);
const guestName = `guest ${Math.random().toString(36).slice(2, 5)}`;
const extras = new Set();
let backends = [];
let chat = null;

// ---- Small pieces of page ----------------------------------------------------------------------

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function hue(backend) {
  const index = backends.indexOf(backend);
  return index < 0 ? "var(--soft)" : `var(--backend-${index})`;
}

function appendBounded(list, item, itemsMax) {
  list.append(item);
  while (list.children.length > itemsMax) list.firstChild.remove();
  list.scrollTop = list.scrollHeight;
}

/** Enough of a session id to recognise it; whoever has all of it can take the session over. */
function masked(sid) {
  return sid ? `${sid.slice(0, 4)}••••••` : "none yet";
}

// ---- Log ---------------------------------------------------------------------------------------

let logStart = performance.now();

function log(text, tone = "") {
  const time = element("time", { textContent: `${Math.round(performance.now() - logStart)} ms` });
  appendBounded(byId("log"), element("li", {}, time, element("span", { className: tone, textContent: text })), LOG_LINES_MAX);
}

// ---- The chat session --------------------------------------------------------------------------

function openChat() {
  const pollingOnly = byId("polling-only").checked;
  logStart = performance.now();
  byId("transport").toggleAttribute("data-polling-only", pollingOnly);
  log(pollingOnly ? "connecting, polling only" : "connecting");
  chat = connect(pollingOnly ? ["polling"] : ["polling", "websocket"]);
  chat.io.on("open", () => watchTransport(chat));
  chat.on("welcome", () => {
    byId("backend").textContent = chat.backend;
    byId("backend-swatch").style.setProperty("--hue", hue(chat.backend));
    log(`backend ${chat.backend} answers`, "good");
  });
  chat.on("line", showLine);
  chat.on("disconnect", (reason) => {
    showTransport(chat);
    log(`disconnected: ${reason}`, "bad");
  });
  chat.on("connect_error", (error) => log(`not connected: ${error.message}`, "bad"));
}

/** Follows one connection of the chat session: Engine.IO handshake, probe, upgrade. */
function watchTransport(session) {
  const engine = session.io.engine;
  const opened = () => {
    log(`Engine.IO handshake, sid ${masked(engine.id)}`);
    showTransport(session);
  };
  if (engine.id) opened();
  else engine.once("handshake", opened);
  engine.on("upgrading", (transport) => log(`probing ${transport.name} with the same sid`));
  engine.on("upgrade", (transport) => {
    log(`upgraded to ${transport.name}`, "good");
    showTransport(session);
  });
  engine.on("upgradeError", (error) => log(`stays on polling: ${error.message}`, "bad"));
}

function showTransport(session) {
  const engine = session.io.engine;
  const open = engine && engine.readyState === "open";
  byId("transport").dataset.transport = open ? engine.transport.name : "none";
  byId("sid").textContent = masked(open ? engine.id : "");
  drawLanes();
}

function showLine({ name, backend, text }) {
  const own = name === guestName ? " (you)" : "";
  const from = element("span", { className: "from" }, `${name}${own} via `, element("b", { textContent: backend }));
  const item = element("li", {}, from, text);
  item.style.setProperty("--hue", hue(backend));
  appendBounded(byId("lines"), item, CHAT_LINES_MAX);
}

// ---- Sessions and where they landed ------------------------------------------------------------

/** A session of its own: own sid, own connection. `backend` is set when the backend has said hello. */
function connect(transports) {
  const session = io({ forceNew: true, transports, auth: { name: guestName } });
  session.on("welcome", (welcome) => {
    session.backend = welcome.backend;
    backends = welcome.backends;
    drawLanes();
  });
  session.on("disconnect", drawLanes);
  session.on("connect_error", drawLanes);
  return session;
}

function stateOf(session) {
  return session.connected ? session.io.engine.transport.name : "failed";
}

function drawLanes() {
  const sessions = [chat, ...extras].filter((session) => session && session.backend);
  const lanes = backends.map((backend) => {
    const here = sessions.filter((session) => session.backend === backend);
    const dots = here.map((session) => {
      const dot = element("span", { className: session === chat ? "dot own" : "dot" });
      dot.dataset.state = stateOf(session);
      return dot;
    });
    const lane = element(
      "li",
      {},
      element("span", { className: "name", textContent: backend }),
      element("span", { className: "dots" }, ...dots),
      element("span", { className: "count", textContent: here.length }),
    );
    lane.dataset.backend = backend;
    lane.style.setProperty("--hue", hue(backend));
    return lane;
  });
  byId("lanes").replaceChildren(...lanes);
  const websockets = sessions.filter((session) => stateOf(session) === "websocket").length;
  byId("tally").textContent = `${sessions.length} open, ${websockets} on websocket`;
}

/** Settles when the session runs on WebSocket, or could not get there. */
function openExtra() {
  return new Promise((settled) => {
    const session = connect(["polling", "websocket"]);
    extras.add(session);
    session.once("connect_error", settled);
    session.io.once("open", () => {
      session.io.engine.once("upgrade", () => {
        drawLanes();
        settled();
      });
      session.io.engine.once("upgradeError", settled);
      session.io.engine.once("close", settled);
    });
  });
}

async function openExtras() {
  byId("more").disabled = true;
  log(`opening ${EXTRA_SESSIONS} more sessions`);
  let left = EXTRA_SESSIONS;
  const open = async () => {
    while (left-- > 0) await openExtra();
  };
  await Promise.all(Array.from({ length: OPENING_MAX }, open));
  const used = new Set([...extras].map((session) => session.backend).filter(Boolean));
  log(`${EXTRA_SESSIONS} more sessions, on ${used.size} backends`, "good");
  byId("fewer").disabled = false;
}

function closeExtras() {
  for (const session of extras) session.disconnect();
  extras.clear();
  byId("fewer").disabled = true;
  byId("more").disabled = false;
  drawLanes();
}

// ---- Wiring ------------------------------------------------------------------------------------

byId("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("text").value.trim();
  if (text) chat.emit("say", text);
  byId("text").value = "";
});
byId("polling-only").addEventListener("change", () => {
  chat.removeAllListeners("disconnect");
  chat.disconnect();
  openChat();
});
byId("more").addEventListener("click", openExtras);
byId("fewer").addEventListener("click", closeExtras);

openChat();
