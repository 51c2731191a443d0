// The status page: shows each overview as it comes. All of it is written as text, never as markup.

const BACKENDS_SHOWN = 200;
const POINTS = 60;

const find = (id) => document.getElementById(id);
const history = new Map();
let takesOrders = false;

/** An element with these classes and contents: texts or elements. */
function element(name, classes, ...contents) {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  made.append(...contents);
  return made;
}

const count = (value) => Math.round(value).toLocaleString("en");
const rate = (value) => (value < 10 ? (Math.round(value * 10) / 10).toString() : count(value));

function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

function time(seconds) {
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (Math.abs(seconds) >= length) return `${Math.floor(seconds / length)} ${unit}`;
  }
  return `${Math.floor(seconds)} s`;
}

function tile(name, value, shown, detail = "") {
  const points = history.get(name) ?? [];
  points.push(value);
  if (points.length > POINTS) points.shift();
  history.set(name, points);
  let made = find(`tile-${name}`);
  if (!made) {
    made = find("tile").content.firstElementChild.cloneNode(true);
    made.id = `tile-${name}`;
    made.querySelector(".name").textContent = name;
    find("tiles").append(made);
  }
  made.querySelector("strong").textContent = shown;
  made.querySelector(".faint").textContent = detail;
  const most = Math.max(...points, 1e-9);
  const at = (point, index) => `${index + POINTS - points.length},${19 - (17 * point) / most}`;
  made.querySelector("polyline").setAttribute("points", points.map(at).join(" "));
}

/** Puts rows into a table; one of `none` if there are none. */
function fill(id, rows, none) {
  const body = find(id).tBodies[0];
  if (rows.length === 0) {
    const cell = element("td", "faint", none);
    cell.colSpan = 9;
    rows = [element("tr", "", cell)];
  }
  body.replaceChildren(...rows);
}

const row = (...cells) => element("tr", "", ...cells.map((cell) => (cell instanceof Node ? cell : element("td", "number", String(cell)))));
const text = (...contents) => element("td", "", ...contents);

function showCauses(overview) {
  const told = overview.causes.map((cause) =>
    element("div", cause.severity, element("strong", "", cause.seen), element("p", "", cause.name === "downgrade" ? "The cure stands with the broken hops below." : cause.cure)),
  );
  find("causes").replaceChildren(...(told.length > 0 ? told : [element("div", "ok", element("strong", "", "Nothing is wrong."))]));
}

function showTiles({ now, rates }) {
  const of = (most) => (most ? `of ${count(most)}` : "");
  tile("Connections", now.connections, count(now.connections), of(now.connections_max));
  tile("Tunnels", now.tunnels, count(now.tunnels), `${rate(rates.tunnels)} new/s, ${count(now.tunnels_idle)} idle`);
  tile("Polling sessions", now.sids, count(now.sids), `${rate(rates.sessions)} new/s`);
  tile("Requests/s", rates.requests, rate(rates.requests), `${rate(rates.connections)} connections/s`);
  tile("Tunnel bytes/s", rates.bytes_to_upstream + rates.bytes_to_client, bytes(rates.bytes_to_upstream + rates.bytes_to_client), `↑ ${bytes(rates.bytes_to_upstream)} ↓ ${bytes(rates.bytes_to_client)}`);
  tile("Memory", now.memory_bytes, bytes(now.memory_bytes), now.memory_bytes_max ? `of ${bytes(now.memory_bytes_max)}` : "held by workers");
  tile("Processor", rates.cpu_seconds, `${Math.round(rates.cpu_seconds * 100)} %`, "100 % is one core");
}

const STATES = { up: "ok", suspect: "warning", down: "fault", drain: "note", maintenance: "note" };

function orderButton(backend) {
  const state = ["drain", "maintenance"].includes(backend.state) ? "up" : "drain";
  const button = element("button", "", state === "up" ? "Enable" : "Drain");
  button.type = "button";
  button.dataset.order = JSON.stringify({ backend: `${backend.upstream}/${backend.name}`, state });
  button.disabled = find("token").value === "";
  return button;
}

function showBackends(backends) {
  const most = Math.max(1, ...backends.map((backend) => backend.load));
  const rows = backends.slice(0, BACKENDS_SHOWN).map((backend) => {
    const share = element("progress");
    share.max = most;
    share.value = backend.load;
    share.setAttribute("aria-label", `load of ${backend.name}`);
    const about = [backend.upstream, backend.address, backend.backup ? "backup" : "", backend.ordered ? "ordered" : ""];
    const waiting = backend.queue === 0 ? "" : `${count(backend.queue)} wait`;
    const growing = backend.load_rate === 0 ? "" : `${backend.load_rate > 0 ? "+" : "−"}${rate(Math.abs(backend.load_rate))}/s`;
    return row(
      text(backend.name, element("small", "", about.filter(Boolean).join(" · "))),
      text(element("span", `pill ${STATES[backend.state] ?? "note"}`, backend.state)),
      element("td", "number", count(backend.tunnels), element("small", "", waiting)),
      element("td", "number", count(backend.load), element("small", "", growing)),
      element("td", "share", share),
      element("td", "number wide", String(backend.weight)),
      element("td", "orders", ...(takesOrders ? [orderButton(backend)] : [])),
    );
  });
  // A button that is about to be pressed must not be replaced under the finger.
  if (!find("backends").querySelector("button:active")) fill("backends", rows, "none");
  const left = backends.length - BACKENDS_SHOWN;
  find("more-backends").textContent = left > 0 ? `and ${count(left)} more: ringbolt backends` : "";
}

function showFindings(findings) {
  const told = findings.map((finding) => {
    const where = [finding.source, finding.hop ?? "hop unknown", `${count(finding.count)} times`, `last ${time(finding.last_seconds_ago)} ago`];
    return element("article", "", element("strong", "", finding.seen), element("p", "faint", where.join(" · ")), element("p", "", finding.cure));
  });
  find("findings").replaceChildren(...(told.length > 0 ? told : [element("p", "faint", "None seen in the last hour.")]));
}

function show(overview) {
  takesOrders = overview.takes_orders;
  find("orders").hidden = !takesOrders;
  find("no-orders").hidden = takesOrders;
  const worst = overview.causes[0]?.severity ?? "ok";
  find("phase").textContent = overview.phase;
  find("phase").className = `pill ${overview.phase === "ready" ? worst : "warning"}`;
  find("process").textContent = `${overview.version} · ${overview.engine} · up ${time(overview.uptime_seconds)} · pid ${overview.pid}`;
  showCauses(overview);
  showTiles(overview);
  showBackends(overview.backends);
  fill("sessions", overview.sessions.map((one) => row(text(one.transport), one.active === null ? "" : count(one.active), rate(one.open_rate), count(one.opened))), "none");
  fill("workers", overview.workers.map((one, index) => row(text(`worker ${index}`), count(one.connections), count(one.tunnels), rate(one.request_rate))), "none");
  showFindings(overview.findings);
  const errors = overview.errors.toSorted((one, other) => other.last_minute - one.last_minute || other.total - one.total);
  fill("errors", errors.map((one) => row(text(one.what), text(one.reason), count(one.last_minute), count(one.total))), "None since the start.");
  find("certificate-section").hidden = overview.certificates.length === 0;
  fill("certificates", overview.certificates.map((one) => row(text(one.name), one.seconds_left < 0 ? "expired" : `${time(one.seconds_left)} left`)), "");
}

async function order(path, body) {
  const outcome = find("outcome");
  outcome.textContent = "…";
  try {
    const headers = { Authorization: `Bearer ${find("token").value}`, "Content-Type": "application/json" };
    const answer = await fetch(path, { method: "POST", headers, body, credentials: "omit", redirect: "error" });
    outcome.textContent = (await answer.text()).trim();
  } catch (error) {
    outcome.textContent = `no answer: ${error.message}`;
  }
}

find("orders").addEventListener("submit", (event) => event.preventDefault());
find("token").addEventListener("input", () => {
  for (const button of document.querySelectorAll("button")) button.disabled = find("token").value === "";
});
find("reload").addEventListener("click", () => order("reload"));
find("backends").addEventListener("click", ({ target }) => {
  const button = target.closest("button[data-order]");
  if (button) order("backends/state", button.dataset.order);
});

const events = new EventSource("events");
events.addEventListener("message", ({ data }) => {
  document.body.classList.remove("stale");
  show(JSON.parse(data));
});
events.addEventListener("error", () => {
  // The browser connects again by itself, also to the process after this one.
  document.body.classList.add("stale");
  find("phase").textContent = "no connection";
  find("phase").className = "pill fault";
});
