// Promise: who opens the status page reads what is wrong, and what to do about it.
//
// Usage: node cause.mjs URL SEEN CURE

import assert from "node:assert/strict";
import { withBrowser } from "./browser.mjs";

const LIMIT_MS = 30_000;

const [url, seen, cure] = process.argv.slice(2);
assert(url && seen && cure, "usage: node cause.mjs URL SEEN CURE");

await withBrowser([], async (browser) => {
  const page = await browser.newPage();
  page.setDefaultTimeout(LIMIT_MS);
  await page.goto(url);
  await page.locator("#causes strong").filter({ hasText: seen }).waitFor();
  // Beside the cause, or beside the hop that is one.
  await page.locator("#causes p, #findings article").filter({ hasText: cure }).first().waitFor();
});
