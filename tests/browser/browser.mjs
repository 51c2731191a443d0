// The browser of the pages' tests: started without what it would do by itself, and gone with its profile at the end.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { chromium } from "playwright-core";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
// No sandbox: CI runs as root. The rest keeps the browser from calling its vendor at start.
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Runs `test` with a browser. Where it fails, says what pages have put into `complaints` before. */
export async function withBrowser(complaints, test) {
  const profile = await mkdtemp(path.join(tmpdir(), "ringbolt-browser-"));
  const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: FLAGS, env: { ...process.env, HOME: profile } });
  try {
    await test(browser);
  } catch (error) {
    if (complaints.length > 0) console.error(`the pages complained:\n  ${complaints.slice(0, 20).join("\n  ")}`);
    throw error;
  } finally {
    await browser.close();
    await rm(profile, { recursive: true, force: true });
  }
}
