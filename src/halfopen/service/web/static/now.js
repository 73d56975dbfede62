// The present: the verdict, its causes, incidents, rates, listeners, sources.

import { el, fill, List, say, sparkline, Table } from "./draw.js";
import { chosen, commandLine, section } from "./parts.js";
import { put, sentence, W } from "./words.js";

// The busiest come first; the idle ones are behind a button, so that what stands below them is found.
const LISTENERS_AT_ONCE = 20;

const QUEUES = ["syn_queue", "accept_queue"];

/** Figures with slashes between them, which may be broken behind each. */
function broken(text) {
  const [first, ...rest] = text.split("/");
  return el("span", { class: "breaks" }, first, rest.map((figure) => ["/", el("wbr"), figure]).flat());
}

/** An address, which is broken before its port where it is too long. */
function beforePort(text) {
  const at = Math.max(0, text.lastIndexOf(":"));
  return el("span", {}, text.slice(0, at), el("wbr"), text.slice(at));
}

function listenerCell(column, text, i, data) {
  if (column.name === "listener") return { key: text, element: () => beforePort(text) };
  if (column.name === "retransmits") return { key: text, element: () => broken(text) };
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

/** The present. draw: has the page drawn anew. */
export class Now {
  constructor(draw) {
    this.draw = draw;
    const fold = { most: LISTENERS_AT_ONCE, all: (n) => put(W.all_rows, { n: n.toLocaleString(W.language) }), fewer: () => W.fewer_rows };
    this.listeners = new Table(W.listeners, listenerCell, fold);
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
    const space = chosen.of(spaces);
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
      const select = el("select", { id: "space", onchange: () => this.turn(Number(select.value)) });
      select.append(...names.map(([inode, name]) => el("option", { value: inode }, name)));
      return el("p", {}, el("label", { for: "space" }, W.namespace), " ", select);
    });
    this.choice.querySelector("select").value = space.inode;
  }

  turn(inode) {
    chosen.inode = inode;
    this.draw();
  }
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
    say(this.title, one.title ? sentence(one.title) : "");
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
