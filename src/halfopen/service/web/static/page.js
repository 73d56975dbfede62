// The page: which view is shown, and when it is drawn anew.

import { Chart, recolour } from "./charts.js";
import { el, fill, List, moment, say, sparkline, Table } from "./draw.js";
import * as service from "./service.js";

const THEME = "halfopen-theme";
const LANGUAGE = "halfopen-language";
const REFRESH_MS = { hour: 10_000, day: 60_000, month: 300_000 };
// So many readings late, the present is called old.
const LATE = 4;
const LATE_LEAST_S = 5;

const $ = (id) => document.getElementById(id);
const main = $("content");
let W = {};
let language = kept(LANGUAGE) || (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
let stop = () => {};
let view = null;
// The last state, when it came (performance.now) and how old it was then; the state of the connection.
let last = { state: null, age_s: null, at: 0 };
let connection = "connecting";
let chosen = null;

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

const put = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

function duration(seconds) {
  const s = Math.round(seconds);
  if (s < 120) return `${s} s`;
  return s < 7200 ? `${Math.round(s / 60)} min` : `${Math.round(s / 3600)} h`;
}

function commandLine(text) {
  const copy = el("button", { type: "button", class: "copy", onclick: () => copied(copy, text) }, W.copy);
  return el("div", { class: "command" }, el("code", { tabindex: "0" }, text), navigator.clipboard ? copy : null);
}

async function copied(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    say(button, W.copied);
    setTimeout(() => say(button, W.copy), 1500);
  } catch {}
}

function section(id, title, ...children) {
  return el("section", { "aria-labelledby": id }, el("h2", { id }, title), ...children);
}

// --- the present ------------------------------------------------------------------------------------------------------

const QUEUES = ["syn_queue", "accept_queue"];

function queueCell(column, text, i, data) {
  if (!QUEUES.includes(column.name)) return null;
  const share = data.bars[i][column.name];
  const level = share === null ? "" : share >= 0.9 ? "critical" : share >= 0.5 ? "warning" : "ok";
  return {
    key: `${text}|${share}`,
    element: () => {
      const fill = el("span", { class: `fill ${level}` });
      fill.style.inlineSize = `${(share || 0) * 100}%`;
      return el("span", { class: "queue" }, el("span", { class: "figure" }, text), el("span", { class: "gauge", "aria-hidden": "true" }, fill));
    },
  };
}

function incidentCell(column, text, i, data) {
  if (column.name === "cause") return { key: data.causes[i], element: () => el("span", {}, sentence(data.causes[i])) };
  if (column.name !== "id") return null;
  return { key: data.ids[i], element: () => el("a", { href: `#incident/${data.ids[i]}` }, text) };
}

class Now {
  constructor() {
    this.listeners = new Table(W.listeners, queueCell);
    this.incidents = new Table(W.incidents, incidentCell);
    this.sources = new Table(W.sources);
    this.ofSources = el("p", { class: "note" });
    this.waiting = el("p", { class: "empty" }, W.waiting);
    this.choice = el("div", { class: "choice" });
    // Figures change every second; a screen reader is told when the level or the cause does.
    this.told = el("p", { class: "unseen", role: "status" });
    this.pill = el("span", { class: "pill" });
    this.headline = el("span");
    this.next = el("div", { class: "next" });
    this.verdict = el("div", { class: "verdict" }, el("h1", {}, this.pill, this.headline), this.next);
    this.causes = new List(el("div", { class: "cards" }), () => new Cause());
    this.rates = el("div", { class: "tiles" });
    this.noListeners = el("p", { class: "empty" }, W.no_listeners);
    this.parts = {
      causes: section("h-causes", W.causes, this.causes.element),
      incidents: section("h-incidents", W.incidents, this.incidents.element),
      rates: section("h-rates", W.rates, this.rates),
      listeners: section("h-listeners", W.listeners, this.noListeners, this.listeners.element),
      sources: section("h-sources", W.sources, this.sources.element, this.ofSources),
    };
    this.missing = el("ul", { class: "missing", "aria-label": W.missing });
    this.element = el("div", { class: "view now" }, this.waiting, this.choice, this.told, this.verdict, this.missing, ...Object.values(this.parts));
  }

  show(state) {
    const spaces = state ? state.spaces : [];
    const space = spaces.find((one) => one.inode === chosen) || spaces[0];
    this.waiting.hidden = Boolean(space);
    for (const part of [this.verdict, this.missing, ...Object.values(this.parts)]) part.hidden = !space;
    this.choice.hidden = spaces.length < 2;
    if (!space) return;
    this.choose(spaces, space);
    this.head(space);
    const lines = [...space.missing, state.trouble, state.left_out].filter(Boolean);
    this.missing.hidden = !lines.length;
    fill(this.missing, lines, () => lines.map((line) => el("li", {}, line)));
    this.parts.causes.hidden = !space.causes.length;
    this.causes.show(space.causes, (one) => one.id);
    this.parts.incidents.hidden = !space.incidents.rows.length;
    this.incidents.show(space.incidents);
    fill(this.rates, space.rates, () => space.rates.map(tile));
    this.noListeners.hidden = space.listeners.rows.length > 0;
    this.listeners.element.hidden = !space.listeners.rows.length;
    this.listeners.show(space.listeners);
    this.parts.sources.hidden = !space.sources;
    if (!space.sources) return;
    this.sources.element.hidden = !space.sources.rows.length;
    if (space.sources.rows.length) this.sources.show(space.sources);
    say(this.ofSources, space.sources.said);
  }

  head(space) {
    this.verdict.className = `verdict ${space.level}`;
    this.pill.className = `pill ${space.level}`;
    say(this.pill, space.level_word);
    say(this.headline, space.headline);
    const worst = space.causes[0];
    say(this.told, `${space.level_word}${worst && worst.title ? `: ${worst.title}` : ""}`);
    this.next.hidden = !space.next.length;
    fill(this.next, space.next[0] || "", (line) => [el("span", { class: "label" }, W.next), commandLine(line)]);
  }

  choose(spaces, space) {
    // While somebody chooses, the choices stay.
    const open = this.choice.querySelector("select");
    if (open && document.activeElement === open) return;
    const names = spaces.map((s) => {
      const more = s.lives_in && s.lives_in !== s.name ? ` (${s.lives_in})` : "";
      return [s.inode, `${s.name}${more}: ${s.level_word}, ${s.half_open}`];
    });
    fill(this.choice, names, () => {
      const select = el("select", { id: "space", onchange: () => choose(Number(select.value)) });
      select.append(...names.map(([inode, name]) => el("option", { value: inode }, name)));
      return el("p", {}, el("label", { for: "space" }, W.namespace), " ", select);
    });
    this.choice.querySelector("select").value = space.inode;
  }
}

function choose(inode) {
  chosen = inode;
  draw();
}

class Cause {
  constructor() {
    this.pill = el("span");
    this.title = el("span");
    this.text = el("p");
    this.evidence = el("dd");
    this.ruledOut = el("dd");
    this.ruledOutTitle = el("dt", {}, W.ruled_out);
    this.evidenceTitle = el("dt", {}, W.evidence);
    this.summary = el("summary");
    this.commands = el("div");
    this.details = el("details", {}, this.summary, this.commands);
    this.facts = el("dl", {}, this.evidenceTitle, this.evidence, this.ruledOutTitle, this.ruledOut);
    this.element = el("article", {}, el("h3", {}, this.pill, this.title), this.text, this.facts, this.details);
  }

  show(one) {
    this.element.className = `card ${one.level}`;
    this.pill.className = `pill ${one.level}`;
    say(this.pill, one.level_word);
    say(this.title, sentence(one.title || one.id));
    say(this.text, sentence(one.text));
    say(this.evidence, sentence(one.evidence));
    say(this.ruledOut, one.ruled_out.join(", "));
    this.evidence.hidden = this.evidenceTitle.hidden = !one.evidence;
    this.ruledOut.hidden = this.ruledOutTitle.hidden = !one.ruled_out.length;
    this.facts.hidden = this.evidence.hidden && this.ruledOut.hidden;
    this.details.hidden = !one.commands.length;
    say(this.summary, `${W.commands} (${one.commands.length})`);
    fill(this.commands, one.commands, () => one.commands.map(commandLine));
  }
}

function tile(rate) {
  const top = Math.max(...rate.values, 0);
  const quiet = top === 0;
  return el(
    "div",
    { class: `tile ${rate.name}${quiet ? " quiet" : ""}`, title: rate.help },
    el("p", { class: "label" }, rate.title),
    el("p", { class: "figure" }, rate.now, el("span", { class: "unit" }, W.per_second)),
    sparkline(rate.values.length ? rate.values : [0]),
  );
}

// --- settings ---------------------------------------------------------------------------------------------------------

class Settings {
  constructor() {
    this.element = el("div", { class: "view" });
  }

  show(state) {
    const space = state && (state.spaces.find((one) => one.inode === chosen) || state.spaces[0]);
    fill(this.element, space ? [space.name, space.settings] : null, () => this.all(space));
  }

  all(space) {
    if (!space) return el("p", { class: "empty" }, W.waiting);
    const rows = space.settings.map((one) =>
      el(
        "tr",
        { role: "row" },
        el("th", { scope: "row", role: "rowheader", "data-title": W.setting }, el("code", {}, one.name)),
        el("td", { role: "cell", class: "number", "data-title": W.value }, String(one.value)),
        el(
          "td",
          { role: "cell", class: "prose", "data-title": W.does },
          el("p", {}, sentence(one.help)),
          one.effect ? el("p", { class: "soft" }, sentence(one.effect)) : null,
        ),
        el("td", { role: "cell", class: "prose", "data-title": W.recommended }, recommended(one)),
      ),
    );
    const heads = [W.setting, W.value, W.does, W.recommended].map((title, i) =>
      el("th", { scope: "col", role: "columnheader", class: i === 1 ? "number" : null }, title),
    );
    return [
      el("h1", { class: "title", id: "h-settings" }, W.settings),
      el("p", { class: "note" }, W.change_by),
      el("div", { class: "table" }, el("table", { role: "table" }, el("caption", {}, W.settings), el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, heads)), el("tbody", { role: "rowgroup" }, rows))),
    ];
  }
}

// The name of a setting begins as it is written.
const sentence = (text) => (/^\w*_/.test(text) ? text : text.slice(0, 1).toUpperCase() + text.slice(1));

function recommended(one) {
  if (one.recommended === null) return el("p", { class: "soft" }, one.idle ? W.idle : W.as_it_should_be);
  const why = one.cost ? put(W.reason_and_costs, { ...one, reason: sentence(one.reason) }) : sentence(one.reason);
  return el("div", {}, el("p", {}, el("strong", {}, String(one.recommended))), el("p", { class: "soft" }, why));
}

// --- history ----------------------------------------------------------------------------------------------------------

class Past {
  constructor(span) {
    this.span = span in REFRESH_MS ? span : "hour";
    this.netns = "";
    this.depths = new Chart(W.half_open, "", [{ name: "half_open", title: W.half_open, colour: "--series-1", fill: true }], W);
    this.rates = new Chart(
      W.rates_kept,
      "",
      [
        { name: "drops", title: W.dropped, colour: "--critical" },
        { name: "cookies", title: W.cookies, colour: "--series-2" },
        { name: "finished", title: W.finished, colour: "--ok" },
      ],
      W,
    );
    this.waits = new Chart(W.accept_queue, "", [{ name: "accept_queue", title: W.accept_queue, colour: "--series-3", fill: true }], W);
    this.said = el("p", { class: "note", role: "status" });
    this.incidents = el("div");
    this.actions = el("div");
    this.spaces = el("div", { class: "choice" });
    this.charts = el("div", { class: "charts" }, this.depths.element, this.rates.element, this.waits.element);
    this.parts = [section("h-past-incidents", W.incidents, this.incidents), section("h-actions", W.actions, this.actions)];
    this.element = el("div", { class: "view" }, this.choices(), this.spaces, this.charts, this.said, ...this.parts);
    this.load();
  }

  choices() {
    const one = (span) =>
      el("a", { href: `#history/${span}`, "aria-current": span === this.span ? "true" : null }, W[span]);
    return el("h1", { class: "title" }, el("span", {}, W.history), el("span", { class: "segments", role: "group", "aria-label": W.span }, Object.keys(REFRESH_MS).map(one)));
  }

  show() {}

  async load() {
    clearTimeout(this.timer);
    try {
      const netns = this.netns ? `&netns=${this.netns}` : "";
      const told = await service.get(`/timeline?span=${this.span}&lang=${language}${netns}`);
      if (view === this) this.draw(told);
    } catch (e) {
      if (view === this) this.failed(e);
    }
    this.timer = setTimeout(() => view === this && this.load(), REFRESH_MS[this.span]);
  }

  failed(e) {
    if (e instanceof service.Out) return out();
    this.charts.hidden = true;
    for (const part of this.parts) part.hidden = true;
    say(this.said, put(W.failed, { why: e.message }));
  }

  draw(told) {
    this.charts.hidden = false;
    for (const part of this.parts) part.hidden = false;
    this.choose(told.namespaces);
    const gaps = told.values.half_open.includes(null) ? ` ${W.unwatched}` : "";
    say(this.said, `${told.rises}${told.rises && gaps ? " " : ""}${gaps.trim()}`);
    const bands = told.incidents.map((one) => ({ from: one.began, to: one.ended || told.until, colour: one.level === "critical" ? "--critical" : "--warning" }));
    const data = { ...told, bands, marks: told.actions.map((one) => one.time) };
    say(this.depths.note, put(W.most_each, { time: told.each }));
    say(this.rates.note, put(W.average_each, { time: told.each }));
    say(this.waits.note, put(W.most_each, { time: told.each }));
    this.depths.show(data, this.words(W.half_open, told.values.half_open));
    this.rates.show(data, this.words(W.rates_kept, told.values.drops));
    const waits = told.values.accept_queue.some((v) => v > 0);
    this.waits.element.hidden = !waits;
    if (waits) this.waits.show(data, this.words(W.accept_queue, told.values.accept_queue));
    this.incidents.replaceChildren(incidentTable(told.incidents));
    this.actions.replaceChildren(actionTable(told.actions, W.no_actions));
  }

  words(title, values) {
    return `${title}: ${put(W.most, { n: Math.max(...values, 0).toLocaleString(W.language) })}`;
  }

  choose(spaces) {
    this.spaces.hidden = spaces.length < 2;
    if (this.spaces.childElementCount && this.spaces.querySelectorAll("option").length === spaces.length + 1) return;
    const select = el("select", { id: "past-space", onchange: () => this.of(select.value) });
    select.append(el("option", { value: "" }, W.all_namespaces), ...spaces.map((s) => el("option", { value: s.inode }, s.name)));
    this.spaces.replaceChildren(el("p", {}, el("label", { for: "past-space" }, W.namespace), " ", select));
  }

  of(netns) {
    this.netns = netns;
    this.load();
  }
}

function plainTable(caption, heads, rows) {
  return el(
    "div",
    { class: "table" },
    el(
      "table",
      { role: "table" },
      el("caption", {}, caption),
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, heads.map(([title, kind]) => el("th", { scope: "col", role: "columnheader", class: kind }, title)))),
      el(
        "tbody",
        { role: "rowgroup" },
        rows.map((cells) => el("tr", { role: "row" }, cells.map((cell, i) => el("td", { role: "cell", class: heads[i][1], "data-title": heads[i][0] }, cell)))),
      ),
    ),
  );
}

function incidentTable(incidents) {
  if (!incidents.length) return el("p", { class: "empty" }, W.no_incidents);
  const heads = [[W.began], [W.lasted], [W.place], [W.cause, "prose"], [W.peak, "number"], [W.released, "number"]];
  const rows = incidents.map((one) => [
    el("a", { href: `#incident/${one.id}` }, moment(one.began)),
    one.over ? one.lasted : `${one.lasted}, ${W.goes_on}`,
    one.place,
    sentence(one.cause),
    one.peak,
    one.released,
  ]);
  return plainTable(W.incidents, heads, rows);
}

function actionTable(actions, none) {
  if (!actions.length) return el("p", { class: "empty" }, none);
  return plainTable(W.actions, [[W.time], [W.action, "prose"]], actions.map((one) => [moment(one.time), one.text]));
}

// --- one incident -----------------------------------------------------------------------------------------------------

class Incident {
  constructor(id) {
    this.id = id;
    this.element = el("div", { class: "view" }, el("p", { class: "empty" }, W.waiting));
    this.load();
  }

  show() {}

  async load() {
    clearTimeout(this.timer);
    try {
      const told = await service.get(`/incident?id=${encodeURIComponent(this.id)}&lang=${language}`);
      if (view !== this) return;
      const key = JSON.stringify(told);
      if (key !== this.key) this.draw(told);
      this.key = key;
      if (!told.over) this.timer = setTimeout(() => view === this && this.load(), 5000);
    } catch (e) {
      if (view !== this) return;
      if (e instanceof service.Out) out();
      else this.element.replaceChildren(back(), el("p", { class: "note" }, put(W.failed, { why: e.message })));
    }
  }

  draw(told) {
    const chart = new Chart(W.half_open, put(W.most_each, { time: told.chart.each }), [{ name: "half_open", title: W.half_open, colour: "--series-1", fill: true }], W);
    const facts = [{ name: W.began, text: moment(told.began) }, { name: W.lasted, text: told.over ? told.lasted : `${told.lasted}, ${W.goes_on}` }, ...told.facts];
    const made = told.made.map((one) => el("li", {}, el("p", {}, one.text), one.reason ? el("p", { class: "soft" }, one.reason) : null));
    this.element.replaceChildren(
      back(),
      el("h1", { class: "title incident" }, el("span", {}, told.headline)),
      el("p", { class: "soft" }, W.incident, " ", el("code", {}, told.id)),
      section("h-seen", W.seen, el("dl", { class: "facts" }, facts.map((f) => el("div", {}, el("dt", {}, f.name), el("dd", {}, f.text)))), chart.element, el("ol", { class: "causes" }, told.causes.map(told_cause))),
      section("h-done", W.done, made.length ? el("ul", { class: "made" }, made) : null, actionTable(told.actions, W.no_actions)),
      section("h-outcome", W.came_of_it, told.outcome.map((line) => el("p", {}, line)), commandLine(told.replay)),
    );
    const actions = told.actions.map((one) => one.time);
    const band = { from: told.began, to: told.ended || told.chart.until, colour: told.level === "critical" ? "--critical" : "--warning" };
    chart.show({ ...told.chart, bands: [band], marks: actions }, `${W.half_open}: ${put(W.most, { n: told.peak })}`);
  }
}

function told_cause(one) {
  return el("li", {}, el("p", {}, el("span", { class: "soft" }, moment(one.time)), " ", el("strong", {}, sentence(one.title))), one.evidence ? el("p", { class: "soft" }, sentence(one.evidence)) : null);
}

function back() {
  return el("p", {}, el("a", { href: "#history" }, `← ${W.back}`));
}

// --- the whole --------------------------------------------------------------------------------------------------------

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
  document.title = state && state.spaces.length && connection !== "out" ? `${state.spaces[0].level_word}: ${state.host}, halfopen` : "halfopen";
  document.body.classList.toggle("old", Boolean(late));
}

function route() {
  if (connection === "out") return;
  const [name, part] = decodeURIComponent(location.hash.slice(1)).split("/");
  const made = { history: () => new Past(part), settings: () => new Settings(), incident: () => new Incident(part || "") };
  if (name === "content") return;
  view = (made[name] || (() => new Now()))();
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
  const select = el("select", { "aria-label": W.language_word, onchange: () => speak(select.value) });
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

async function speak(wanted) {
  language = wanted;
  keep(LANGUAGE, wanted);
  await start();
}

async function start() {
  W = await service.words(language);
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
await start();
