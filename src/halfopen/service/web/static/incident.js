// One incident: what was seen, what was done, what came of it.

import { Chart } from "./charts.js";
import { el, moment } from "./draw.js";
import { commandLine, section } from "./parts.js";
import { actionTable } from "./past.js";
import * as service from "./service.js";
import { language, put, sentence, W } from "./words.js";

/** host: as of `Past`. */
export class Incident {
  constructor(id, host) {
    this.host = host;
    this.id = id;
    this.element = el("div", { class: "view" }, el("p", { class: "empty" }, W.waiting));
    this.load();
  }

  show() {}

  async load() {
    clearTimeout(this.timer);
    try {
      const told = await service.get(`/incident?id=${encodeURIComponent(this.id)}&lang=${language}`);
      if (!this.host.shows(this)) return;
      const key = JSON.stringify(told);
      if (key !== this.key) this.draw(told);
      this.key = key;
      if (!told.over) this.timer = setTimeout(() => this.host.shows(this) && this.load(), 5000);
    } catch (e) {
      if (!this.host.shows(this)) return;
      if (e instanceof service.Out) this.host.out();
      else this.element.replaceChildren(back(), el("p", { class: "note" }, put(W.failed, { why: e.message })));
    }
  }

  draw(told) {
    const chart = new Chart(W.half_open, put(W.most_each, { time: told.chart.each }), [{ name: "half_open", title: W.half_open, colour: "--series-1", fill: true }], W);
    const facts = [{ name: W.began, text: moment(told.began) }, { name: W.lasted, text: told.over ? told.lasted : put(W.goes_on, { time: told.lasted }) }, ...told.facts];
    const made = told.made.map((one) => el("li", {}, el("p", {}, one.text), one.reason ? el("p", { class: "soft" }, one.reason) : null));
    this.element.replaceChildren(
      back(),
      el("h1", { class: "title incident" }, el("span", {}, told.headline)),
      el("p", { class: "soft" }, W.incident, " ", el("code", {}, told.id)),
      section("h-seen", W.seen, el("dl", { class: "facts" }, facts.map((f) => el("div", {}, el("dt", {}, f.name), el("dd", {}, f.text)))), chart.element, el("ol", { class: "causes" }, told.causes.map(toldCause))),
      section("h-done", W.done, made.length ? el("ul", { class: "made" }, made) : null, actionTable(told.actions, W.no_actions)),
      section("h-outcome", W.came_of_it, told.outcome.map((line) => el("p", {}, line)), commandLine(told.replay)),
    );
    const actions = told.actions.map((one) => one.time);
    const band = { from: told.began, to: told.ended || told.chart.until, colour: told.level === "critical" ? "--critical" : "--warning" };
    chart.show({ ...told.chart, bands: [band], marks: actions }, `${W.half_open}: ${put(W.most, { n: told.peak })}`);
  }
}

function toldCause(one) {
  return el("li", {}, el("p", {}, el("span", { class: "soft" }, moment(one.time)), " ", el("strong", {}, sentence(one.title))), one.evidence ? el("p", { class: "soft" }, sentence(one.evidence)) : null);
}

function back() {
  return el("p", {}, el("a", { href: "#history" }, `← ${W.back}`));
}
