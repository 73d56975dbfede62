// Drives Chromium for page_check.py: node page_check.mjs DIR LINK CHROMIUM. One line of JSON out for each thing to do in
// the lab ({"do": …}), one line in when it was begun ({"at": …}); the report last.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { join } from "node:path";

const [place, link, executablePath] = process.argv.slice(2);
const require = createRequire(join(place, "node_modules", "x.js"));
const puppeteer = require("puppeteer-core");
const axe = require.resolve("axe-core/axe.min.js");
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const report = { seen_s: [], axe: {}, errors: [], pictures: [] };
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function inLab(what) {
  say({ do: what });
  return JSON.parse((await lines.next()).value).at;
}

// --no-sandbox: it runs as root, on pages of this repository alone.
const browser = await puppeteer.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const page = await browser.newPage();
page.on("pageerror", (e) => report.errors.push(String(e)));
page.on("console", (m) => {
  if (m.type() === "error" || /Content Security Policy|Trusted/.test(m.text())) report.errors.push(`${m.text()} ${m.stackTrace().map((s) => s.url + ":" + s.lineNumber).join(" ")}`);
});
const WIDTHS = { wide: [1440, 900], narrow: [390, 844] };

async function look(name, { scheme = "light", width = "wide", audit = true } = {}) {
  const [w, h] = WIDTHS[width];
  await page.setViewport({ width: w, height: h, deviceScaleFactor: width === "narrow" ? 2 : 1 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await pause(700);
  const title = `${name}-${width}-${scheme}`;
  await page.screenshot({ path: join(place, `${title}.png`), fullPage: true });
  report.pictures.push(`${title}.png`);
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (wider > 0) report.errors.push(`${title}: ${wider} pixels wider than the window`);
  if (audit) report.axe[title] = await audited();
}

async function audited() {
  // Past the page's own policy, which allows no script but its own.
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.map((v) => ({ id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.slice(0, 4).map((n) => n.target.join(" ")) }));
}

async function everywhere(name) {
  for (const width of Object.keys(WIDTHS)) for (const scheme of ["light", "dark"]) await look(name, { width, scheme });
}

async function go(hash, ready) {
  await page.evaluate((to) => (location.hash = to), hash);
  await page.waitForSelector(ready, { timeout: 20000 });
  await pause(500);
}


process.on("uncaughtException", (e) => {
  page.screenshot({ path: join(place, "failed.png"), fullPage: true }).finally(() => process.exit(1));
  console.error(e.message, JSON.stringify(report.errors));
});
await page.evaluateOnNewDocument(require("node:fs").readFileSync(axe, "utf8"));
await page.goto(link, { waitUntil: "domcontentloaded" });
await page.waitForSelector(".verdict h1", { timeout: 20000 });
await inLab("honest");
await pause(1500);
await everywhere("calm");
const began = await inLab("flood");
await page.waitForFunction(
  () => [...document.querySelectorAll(".now .table tbody tr")].some((row) => row.cells[0].textContent === ":8080" && row.cells[1].textContent === "700"),
  { polling: 50, timeout: 20000 },
);
report.seen_s.push(Date.now() / 1000 - began);
await inLab("more");
await pause(6000);
await everywhere("flood");
await go("#settings", "#h-settings");
await everywhere("settings");
await pause(8000);
await go("#history/hour", ".uplot");
await everywhere("history");
await page.click(".view table a");
await page.waitForSelector("#h-seen", { timeout: 20000 });
await everywhere("incident");
await page.select("#tools select", "zh");
await pause(1500);
await look("incident-zh");
await go("#now", ".verdict h1");
await everywhere("now-zh");
await go("#settings", "#h-settings");
await everywhere("settings-zh");
await go("#now", ".verdict h1");
await page.select("#tools select", "en");
await inLab("stop");
await page.waitForSelector(".live.bad", { timeout: 20000 });
await look("stale");
await inLab("continue");
await page.waitForSelector(".live:not(.bad)", { timeout: 20000 });
await page.evaluate(() => localStorage.removeItem("halfopen-session"));
await page.reload();
await page.waitForSelector(".out", { timeout: 20000 });
await look("out");
// The refusal of a page without a session is meant.
report.errors = report.errors.filter((line) => !/401/.test(line));
await browser.close();
process.stdout.write(`${JSON.stringify({ report })}\n`, () => process.exit(0));
