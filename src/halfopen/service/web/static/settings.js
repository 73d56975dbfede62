// The settings: what each is, what it does, and what it should be.

import { el, fill } from "./draw.js";
import { chosen } from "./parts.js";
import { put, sentence, W } from "./words.js";

export class Settings {
  constructor() {
    this.element = el("div", { class: "view" });
  }

  show(state) {
    const space = state && chosen.of(state.spaces);
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

function recommended(one) {
  if (one.recommended === null) return el("p", { class: "soft" }, one.idle ? W.idle : W.as_it_should_be);
  const why = one.cost ? put(W.reason_and_costs, { ...one, reason: sentence(one.reason) }) : sentence(one.reason);
  return el("div", {}, el("p", {}, el("strong", {}, String(one.recommended))), el("p", { class: "soft" }, why));
}
