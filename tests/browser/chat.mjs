// Promise: the demo's chat page works in a real browser, through the proxy, with nothing configured.
//
// Without sid affinity the page never leaves "connecting" or falls back to polling with 400s in the
// console; without working upgrades it stays on polling; both fail here.
//
// Usage: node chat.mjs URL SCREENSHOT_FOLDER   (writes desktop.png, dark.png and phone.png)

import assert from "node:assert/strict";
import path from "node:path";
import { withBrowser } from "./browser.mjs";

// The certificate of an https page is its own issuer, as quick ones are: nobody but this browser believes it.
const ANY_CERTIFICATE = { ignoreHTTPSErrors: true, colorScheme: "light" };
const DESKTOP = { ...ANY_CERTIFICATE, viewport: { width: 1200, height: 740 } };
const PHONE = { ...ANY_CERTIFICATE, viewport: { width: 390, height: 844 } };
// How long anything on the page may take. The steps take well under a second on an idle machine.
const STEP_TIMEOUT_MS = 30_000;
const EXTRA_SESSIONS = 20;

const [url, folder] = process.argv.slice(2);
assert(url && folder, "usage: node chat.mjs URL SCREENSHOT_FOLDER");

/** Everything a page complained about. */
const complaints = [];

async function openPage(context, who) {
  const page = await context.newPage();
  page.setDefaultTimeout(STEP_TIMEOUT_MS);
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`${who}: console: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`${who}: exception: ${error.message}`));
  page.on("requestfailed", (request) => {
    const reason = request.failure()?.errorText;
    // The client itself aborts its waiting poll when it disconnects. What a proxy breaks is
    // reported as a reset or an empty answer.
    if (reason !== "net::ERR_ABORTED") complaints.push(`${who}: ${request.method()} ${request.url()}: ${reason}`);
  });
  page.on("response", (response) => {
    if (response.status() >= 400) complaints.push(`${who}: ${response.status()} for ${response.url()}`);
  });
  await page.goto(url);
  await onTransport(page, "websocket");
  return page;
}

async function onTransport(page, name) {
  await page.locator(`#transport[data-transport="${name}"]`).waitFor();
}

/** The name of the backend that serves the page, which tells it in a message of its own. */
async function backendOf(page) {
  const name = page.locator("#backend").filter({ hasText: /^(north|east|west)$/ });
  await name.waitFor();
  return name.textContent();
}

async function say(page, text) {
  await page.locator("#text").fill(text);
  await page.locator("#text").press("Enter");
}

async function sees(page, text) {
  await page.locator("#lines li").filter({ hasText: text }).waitFor();
}

/** Opens the extra sessions and checks that all connected, upgraded and spread. */
async function spread(page) {
  await page.locator("#more").click();
  await page.locator("#fewer:enabled").waitFor();
  // A session's word of its backend may come behind its upgrade.
  await page.locator('#lanes .dot[data-state="websocket"]').nth(EXTRA_SESSIONS).waitFor();
  const counts = await page.locator("#lanes .count").allTextContents();
  const upgraded = await page.locator('#lanes .dot[data-state="websocket"]').count();
  assert.equal(upgraded, EXTRA_SESSIONS + 1, `all sessions run on websocket; lanes: ${counts}`);
  const used = counts.filter((count) => Number(count) > 0);
  assert(used.length >= 2, `sessions are spread over backends; lanes: ${counts}`);
  return counts;
}

/** A screenshot, refused when it shows next to nothing: fewer than 50 colours is a blank page. */
async function screenshot(page, name, options = {}) {
  const bytes = await page.screenshot({ path: path.join(folder, name), ...options });
  const colours = await page.evaluate(async (encoded) => {
    const binary = Uint8Array.from(atob(encoded), (char) => char.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([binary], { type: "image/png" }));
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const pixels = new Uint32Array(context.getImageData(0, 0, bitmap.width, bitmap.height).data.buffer);
    return new Set(pixels).size;
  }, bytes.toString("base64"));
  assert(colours >= 50, `${name} has ${colours} colours: it is blank`);
}

/** The page fits the screen: nothing makes a phone scroll sideways. */
async function fits(page) {
  const excess = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert(excess <= 0, `the page is ${excess} px wider than the screen`);
}

async function run(browser) {
  const context = await browser.newContext(DESKTOP);
  const first = await openPage(context, "first page");
  const home = await backendOf(first);
  assert.match(await first.locator("#sid").textContent(), /^[\w-]{4}•+$/, "the sid is masked");
  await say(first, "Hello from the first window");
  await sees(first, "Hello from the first window");

  const otherContext = await browser.newContext(PHONE);
  const second = await openPage(otherContext, "second page");
  const otherHome = await backendOf(second);
  await say(first, "Does the second window hear this?");
  await sees(second, "Does the second window hear this?");
  await say(second, "It does");
  await sees(first, "It does");

  // Polling only keeps its session and its chat, over many requests of one sid.
  await second.locator(".switch").click();
  await onTransport(second, "polling");
  await say(second, "And now over polling alone");
  await sees(first, "And now over polling alone");
  await second.locator(".switch").click();
  await onTransport(second, "websocket");

  const counts = await spread(first);
  await screenshot(first, "desktop.png");
  await first.emulateMedia({ colorScheme: "dark" });
  await screenshot(first, "dark.png");
  await fits(second);
  await screenshot(second, "phone.png", { fullPage: true });
  await first.locator("#fewer").click();
  await first.locator("#more:enabled").waitFor();

  assert.deepEqual(complaints, [], "no console errors, no failed requests");
  return { home, otherHome, counts };
}

await withBrowser(complaints, async (browser) => {
  const { home, otherHome, counts } = await run(browser);
  console.log(`chat works: first page on ${home}, second on ${otherHome}, sessions per backend ${counts.join("/")}`);
});
