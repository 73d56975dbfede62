// What more than one view is made of.

import { el, say } from "./draw.js";
import { W } from "./words.js";

/** The namespace that is shown: the one chosen, else the first. */
export const chosen = {
  inode: null,
  of(spaces) {
    return spaces.find((one) => one.inode === this.inode) || spaces[0];
  },
};

export function commandLine(text) {
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

export function section(id, title, ...children) {
  return el("section", { "aria-labelledby": id }, el("h2", { id }, title), ...children);
}

export function plainTable(caption, heads, rows) {
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
