// The page: which view is shown, and when it is drawn anew.

import { recolour } from "./charts.js";
import { el, say } from "./draw.js";
import { Incident } from "./incident.js";
import { Now } from "./now.js";
import { commandLine } from "./parts.js";
import { Past } from "./past.js";
import * as service from "./service.js";
import { Settings } from "./settings.js";
import { language, put, speak, W } from "./words.js";

const THEME = "halfopen-theme";
const LANGUAGE = "halfopen-language";
// So many readings late, the present is called old.
const LATE = 4;
const LATE_LEAST_S = 5;

const $ = (id) => document.getElementById(id);
const main = $("content");
let stop = () => {};
let view = null;
// The last state, when it came (performance.now) and how old it was then; the state of the connection.
let last = { state: null, age_s: null, at: 0 };
let connection = "connecting";
const host = { shows: (one) => view === one, out };

function kept(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function keep(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {}
}

function duration(seconds) {
  const s = Math.round(seconds);
  if (s < 120) return put(W.seconds, { n: s });
  return s < 7200 ? put(W.minutes, { n: Math.round(s / 60) }) : put(W.hours, { n: Math.round(s / 3600) });
}

function out() {
  connection = "out";
  stop();
  view = null;
  main.replaceChildren(
    el("div", { class: "view out" }, el("h1", { class: "title" }, W.out), el("p", {}, W.out_why), el("p", {}, W.out_how), commandLine("halfopen web")),
  );
  bar();
}

function draw() {
  if (view) view.show(last.state);
  bar();
}

function bar() {
  const state = last.state;
  say($("host"), state && state.host ? state.host : "");
  const age_s = last.age_s === null ? null : last.age_s + (performance.now() - last.at) / 1000;
  const live = $("live");
  const late = state && age_s !== null && age_s > Math.max(LATE_LEAST_S, LATE * state.interval_s);
  let words = W.connecting;
  if (connection === "out") words = "";
  else if (connection === "full") words = W.full;
  else if (late) words = put(W.stale, { time: duration(age_s) });
  else if (connection === "lost") words = W.lost;
  else if (connection === "live") words = W.live;
  live.className = `live ${late || connection === "lost" || connection === "full" ? "bad" : connection}`;
  say(live, words);
  const known = state && state.spaces.length && connection !== "out";
  document.title = known ? `${late || connection === "lost" ? words : state.spaces[0].level_word}: ${state.host}, halfopen` : "halfopen";
  document.body.classList.toggle("old", Boolean(late));
}

function route() {
  if (connection === "out") return;
  const [name, part] = decodeURIComponent(location.hash.slice(1)).split("/");
  const made = { history: () => new Past(part, host), settings: () => new Settings(), incident: () => new Incident(part || "", host) };
  if (name === "content") return;
  view = (made[name] || (() => new Now(draw)))();
  main.replaceChildren(view.element);
  for (const link of $("nav").children) {
    const here = link.hash === `#${name === "incident" ? "history" : name || "now"}`;
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  draw();
}

function frame() {
  document.documentElement.lang = W.language;
  say($("skip"), W.skip);
  $("nav").setAttribute("aria-label", "halfopen");
  $("nav").replaceChildren(...["now", "history", "settings"].map((name) => el("a", { href: `#${name}` }, W[name])));
  const select = el("select", { "aria-label": W.language_word, onchange: () => turnTo(select.value) });
  for (const [code, name] of Object.entries(W.languages)) select.append(el("option", { value: code, selected: code === language }, name));
  const theme = el("button", { type: "button", class: "theme", "aria-label": W.theme, title: W.theme, onclick: turn }, "◐");
  $("tools").replaceChildren(select, theme);
}

function dark() {
  const set = document.documentElement.dataset.theme;
  return set ? set === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function turn() {
  const theme = dark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  keep(THEME, theme);
  recolour();
}

async function turnTo(wanted) {
  keep(LANGUAGE, wanted);
  await start(wanted);
}

async function start(wanted) {
  speak(wanted, await service.words(wanted));
  frame();
  if (connection === "out") return out();
  stop();
  stop = service.follow(
    `/stream?lang=${language}`,
    (event) => {
      last = { ...event, at: performance.now() };
      connection = "live";
      draw();
    },
    (status) => {
      connection = status;
      if (status === "out") out();
      else bar();
    },
  );
  route();
}

const theme = kept(THEME);
if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
addEventListener("hashchange", async () => {
  if (location.hash.startsWith("#link=")) location.reload();
  else route();
});
setInterval(bar, 1000);
// A link that was used before does no harm where there is a session; without one, the stream says so.
await service.enter().catch(() => {});
await start(kept(LANGUAGE) || (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en"));
