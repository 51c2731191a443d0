// Promise: the status page is live, gives orders to who types the token, and shows foreign words as text.
//
// Usage: node status.mjs URL TOKEN SCREENSHOT_FOLDER   (writes desktop, phone, desktop-dark and phone-dark.png)

import assert from "node:assert/strict";
import path from "node:path";
import { withBrowser } from "./browser.mjs";

const SCREENS = { desktop: { width: 1200, height: 900 }, phone: { width: 390, height: 844 } };
const STEP_TIMEOUT_MS = 30_000;

const [url, token, folder] = process.argv.slice(2);
assert(url && token && folder, "usage: node status.mjs URL TOKEN SCREENSHOT_FOLDER");

/** Everything a page complained about. */
const complaints = [];

async function openPage(browser, viewport, who) {
  const context = await browser.newContext({ viewport, colorScheme: "light" });
  const page = await context.newPage();
  page.setDefaultTimeout(STEP_TIMEOUT_MS);
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`${who}: console: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`${who}: exception: ${error.message}`));
  page.on("dialog", (dialog) => complaints.push(`${who}: foreign script: ${dialog.message()}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) complaints.push(`${who}: asks ${request.url()}`);
  });
  await page.goto(url);
  await page.locator("#phase").filter({ hasText: "ready" }).waitFor();
  return page;
}

async function orders(page) {
  const north = page.locator("#backends tbody tr").filter({ hasText: "north" });
  const drain = north.getByRole("button", { name: "Drain" });
  assert(await drain.isDisabled(), "no order without a token");
  await page.locator("#token").fill("not the token");
  await drain.click();
  await page.locator("#outcome").filter({ hasText: "orders need the token" }).waitFor();
  await page.locator("#token").fill(token);
  await drain.click();
  await page.locator("#outcome").filter({ hasText: "chat/north: drain" }).waitFor();
  await north.locator(".pill").filter({ hasText: "drain" }).waitFor();
  await page.locator("#causes").filter({ hasText: "chat/north drains" }).waitFor();
  await north.getByRole("button", { name: "Enable" }).click();
  await north.locator(".pill").filter({ hasText: "up" }).waitFor();
  await page.locator("#reload").click();
  await page.locator("#outcome").filter({ hasText: "reloaded" }).waitFor();
  assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]), [0, 0, ""], "the token is kept nowhere");
}

async function shows(page) {
  await page.locator("#causes .warning").filter({ hasText: "chat/west is down" }).waitFor();
  const hop = await page.locator("#findings article").first().textContent();
  assert(hop.includes("Via: 1.1 <img src=x onerror=alert(1)>"), `foreign words are text: ${hop}`);
  assert.equal(await page.locator("main img").count(), 0);
  const tunnels = page.locator("#tile-Tunnels strong");
  assert.equal(await tunnels.textContent(), "20");
  // Live: what moves through tunnels shows.
  await page.waitForFunction(() => /[KM]iB/.test(document.querySelector("[id='tile-Tunnel bytes/s'] strong").textContent));
  // Of 30 sessions and 20 tunnels some are at either backend that is up.
  const cells = (name) => page.locator("#backends tbody tr").filter({ hasText: name }).locator("td.number");
  for (const name of ["north", "east"]) {
    const [tunnels, load] = [await cells(name).nth(0).textContent(), await cells(name).nth(1).textContent()];
    assert(parseInt(tunnels, 10) > 0 && parseInt(load, 10) > parseInt(tunnels, 10), `${name}: ${tunnels} tunnels of ${load}`);
  }
  await page.locator("#errors td").filter({ hasText: "downgraded" }).waitFor();
}

/** The page fits the screen: nothing makes a phone scroll sideways. */
async function fits(page) {
  const excess = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert(excess <= 0, `the page is ${excess} px wider than the screen`);
}

async function screenshots(page, name) {
  await fits(page);
  const shot = (file) => page.screenshot({ path: path.join(folder, file), fullPage: true });
  const light = await shot(`${name}.png`);
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await shot(`${name}-dark.png`);
  assert(!light.equals(dark), "dark is another page");
  const [back, text] = await page.evaluate(() => {
    const style = getComputedStyle(document.body);
    return [style.backgroundColor, style.color].map((color) => color.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0));
  });
  assert(back < 150 && text > 600, `dark is dark: ${back}, ${text}`);
}

await withBrowser(complaints, async (browser) => {
  const desktop = await openPage(browser, SCREENS.desktop, "desktop");
  const phone = await openPage(browser, SCREENS.phone, "phone");
  await shows(desktop);
  await orders(desktop);
  // The sparklines need some seconds to be lines.
  await desktop.waitForTimeout(4000);
  await screenshots(desktop, "desktop");
  await screenshots(phone, "phone");
  // The browser logs the 401 that was asked for.
  const unasked = complaints.filter((complaint) => !complaint.includes("401"));
  assert.deepEqual(unasked, [], "no console errors, nothing from elsewhere");
});
