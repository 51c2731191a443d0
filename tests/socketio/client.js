// Runs one scenario with unmodified clients against one or more addresses, and judges it.
//
//   node client.js SCENARIO --lane NAME=URL [--lane NAME=URL ...] [--version 2|3|4] [--eio 3] [--eio 4]
//                          [--backend URL ...] [--limit SECONDS]
//
// --version is the client's, --eio each protocol generation the server speaks, --backend the
// servers behind a lane, for how many there are and for asking them directly; without it the lane itself is one.
//
// A lane is one way to the same kind of backends: direct, or through a proxy in one of its shapes. Lanes run side by
// side in this process (node is dear to start), or one after the other where a scenario says so. Prints one line of
// JSON; the exit code is 0 only if the scenario held on every lane. Whatever happens, it ends within its limit.
"use strict";

const dns = require("dns");
const { parseArgs } = require("util");

// Hosts of tests are on this machine, whatever its resolver knows.
const lookup = dns.lookup;
dns.lookup = (host, ...rest) => lookup(host.endsWith(".test") ? "127.0.0.1" : host, ...rest);

const SCENARIOS = {
  ...require("./scenarios/sessions.js"),
  ...require("./scenarios/protocol.js"),
  ...require("./scenarios/crowd.js"),
  ...require("./scenarios/engine.js"),
  ...require("./scenarios/idle.js"),
  ...require("./scenarios/upgrade.js"),
  ...require("./scenarios/backends.js"),
  ...require("./scenarios/restart.js"),
  ...require("./scenarios/drain.js"),
};

function parse() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      version: { type: "string", default: "4" },
      eio: { type: "string", multiple: true, default: ["4"] },
      lane: { type: "string", multiple: true, default: [] },
      backend: { type: "string", multiple: true },
      limit: { type: "string", default: "30" },
    },
  });
  const scenario = SCENARIOS[positionals[0]];
  if (!scenario) throw new Error(`unknown scenario ${positionals[0]}: one of ${Object.keys(SCENARIOS).join(", ")}`);
  const lanes = values.lane.map((lane) => {
    const at = lane.indexOf("=");
    return { name: lane.slice(0, at), url: lane.slice(at + 1) };
  });
  if (lanes.length === 0) throw new Error("no --lane");
  return {
    scenario,
    lanes,
    version: Number(values.version),
    generations: values.eio.map(Number),
    backends: values.backend,
    limit_ms: Number(values.limit) * 1000,
  };
}

/// Runs the scenario on one lane; the lane's entry of the result.
async function judge(scenario, context, lane) {
  const started = Date.now();
  try {
    const found = await scenario.run({ ...context, backends: context.backends ?? [lane.url], url: lane.url });
    return { lane: lane.name, ok: true, ms: Date.now() - started, found };
  } catch (error) {
    return { lane: lane.name, ok: false, ms: Date.now() - started, error: describe(error) };
  }
}

/// The whole story of a failure; socket.io clients hide the status of a refused poll in `context` or `description`.
function describe(error) {
  const status = error?.context?.status ?? error?.description;
  return `${error?.stack ?? error}${status === undefined ? "" : ` (status ${status?.message ?? status})`}`.slice(0, 2000);
}

async function main() {
  const { scenario, lanes, limit_ms, ...context } = parse();
  const results = [];
  const finish = (cause) => {
    const missing = lanes.filter((lane) => !results.some((result) => result.lane === lane.name));
    results.push(...missing.map((lane) => ({ lane: lane.name, ok: false, error: cause })));
    console.log(JSON.stringify({ ok: results.every((result) => result.ok), results }));
    process.exit(results.every((result) => result.ok) ? 0 : 1);
  };
  setTimeout(finish, limit_ms, `not finished within ${limit_ms} ms`);
  process.on("uncaughtException", (error) => finish(describe(error)));
  const run = async (lane) => results.push(await judge(scenario, context, lane));
  if (scenario.oneLaneAtATime) for (const lane of lanes) await run(lane);
  else await Promise.all(lanes.map(run));
  finish();
}

main();
