// The past: charts of an hour, a day or a month, its incidents, and what was done.

import { Chart } from "./charts.js";
import { el, moment, say } from "./draw.js";
import { plainTable, section } from "./parts.js";
import * as service from "./service.js";
import { language, put, sentence, W } from "./words.js";

const REFRESH_MS = { hour: 10_000, day: 60_000, month: 300_000 };

/** A time of history. host: shows(view) and out(). */
export class Past {
  constructor(span, host) {
    this.host = host;
    this.span = Object.hasOwn(REFRESH_MS, span) ? span : "hour";
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
      if (this.host.shows(this)) this.draw(told);
    } catch (e) {
      if (this.host.shows(this)) this.failed(e);
    }
    this.timer = setTimeout(() => this.host.shows(this) && this.load(), REFRESH_MS[this.span]);
  }

  failed(e) {
    if (e instanceof service.Out) return this.host.out();
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

function incidentTable(incidents) {
  if (!incidents.length) return el("p", { class: "empty" }, W.no_incidents);
  const heads = [[W.began], [W.lasted], [W.place], [W.cause, "prose"], [W.peak, "number"], [W.released, "number"]];
  const rows = incidents.map((one) => [
    el("a", { href: `#incident/${one.id}` }, moment(one.began)),
    one.over ? one.lasted : put(W.goes_on, { time: one.lasted }),
    one.place,
    sentence(one.cause),
    one.peak,
    one.released,
  ]);
  return plainTable(W.incidents, heads, rows);
}

export function actionTable(actions, none) {
  if (!actions.length) return el("p", { class: "empty" }, none);
  return plainTable(W.actions, [[W.time], [W.action, "prose"]], actions.map((one) => [moment(one.time), one.text]));
}
