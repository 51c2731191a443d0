// Promise: who has the status page open reads what is wrong, and what to do about it.
//
// Usage: node cause.mjs URL, and then on standard input, a line each, { "seen": ..., "cure": ... } of what is to show.
// Says `open`, and `shown SEEN` each time.

import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { withBrowser } from "./browser.mjs";

const LIMIT_MS = 30_000;

const [url] = process.argv.slice(2);
assert(url, "usage: node cause.mjs URL");

await withBrowser([], async (browser) => {
  const page = await browser.newPage();
  page.setDefaultTimeout(LIMIT_MS);
  await page.goto(url);
  console.log("open");
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === "") break;
    const { seen, cure } = JSON.parse(line);
    await page.locator("#causes strong").filter({ hasText: seen }).waitFor();
    // Beside the cause, or beside the hop that is one.
    await page.locator("#causes p, #findings article").filter({ hasText: cure }).first().waitFor();
    console.log(`shown ${seen}`);
  }
});
// Open, it would keep this process alive.
process.stdin.destroy();
