// Makes elements, and changes only what differs: a person may be reading, selecting or tabbing through it.
// Nothing here takes markup: every text is a text node.

/** An element with attributes, properties that begin with "on", and children (texts, elements, null). */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** A moment (seconds since 1970) as it is written on this page: `04:27:54`, and the day where that is another. */
export function moment(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const at = new Date(seconds * 1000);
  const two = (n) => String(n).padStart(2, "0");
  const time = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
  if (at.toDateString() === new Date().toDateString()) return time;
  return `${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}

/** Set the text of an element, where it is another. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const drawn = new WeakMap();

/** Fill an element with what `make` draws from data, unless it was drawn from the same data before. */
export function fill(element, data, make) {
  const key = JSON.stringify(data);
  if (drawn.get(element) === key) return;
  drawn.set(element, key);
  element.replaceChildren(...[make(data)].flat());
}

/** Show a list, an element for each item, by its key: one that is there stays, with what is open or has the focus. */
export class List {
  /** make(): {element, show(item)}. */
  constructor(element, make) {
    this.element = element;
    this.make = make;
    this.known = new Map();
  }

  show(items, keyOf) {
    const there = new Map();
    for (const item of items) {
      const base = keyOf(item);
      let key = base;
      for (let n = 2; there.has(key); n++) key = `${base}#${n}`;
      const part = this.known.get(key) || this.make();
      part.show(item);
      there.set(key, part);
    }
    this.known = there;
    const wanted = [...there.values()].map((part) => part.element);
    const now = [...this.element.children];
    if (now.length !== wanted.length || now.some((one, i) => one !== wanted[i])) this.element.replaceChildren(...wanted);
  }
}

const SVG = "http://www.w3.org/2000/svg";

/** A line of values without axes, for the eye alone: its figure stands beside it. */
export function sparkline(values, width = 160, height = 36) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const top = Math.max(...values, 1);
  const x = (i) => ((i / Math.max(1, values.length - 1)) * width).toFixed(1);
  const y = (v) => (height - 2 - (v / top) * (height - 4)).toFixed(1);
  const points = values.map((v, i) => `${x(i)},${y(v)}`).join(" ");
  const area = document.createElementNS(SVG, "polygon");
  area.setAttribute("points", `0,${height} ${points} ${width},${height}`);
  const line = document.createElementNS(SVG, "polyline");
  line.setAttribute("points", points);
  svg.append(area, line);
  return svg;
}

/** A table that keeps its rows from one drawing to the next. */
export class Table {
  /** cell(column, text, row): the content of a cell where it is more than its text; null: the text. fold: the most rows
   * that are shown before somebody asks for all, and the words of the button: {most, all(n), fewer()}; null: all.
   */
  constructor(caption, cell = () => null, fold = null) {
    this.caption = caption;
    this.cell = cell;
    this.fold = fold;
    this.isOpen = false;
    this.more = el("button", { type: "button", class: "more", onclick: () => this.turn() });
    this.key = "";
    this.body = el("tbody", { role: "rowgroup" });
    this.left = el("p", { class: "left-out" });
    this.element = el("div", { class: "table" });
  }

  show(data) {
    const key = JSON.stringify(data.columns);
    if (key !== this.key) this.head(data.columns);
    this.key = key;
    this.data = data;
    const folds = this.fold !== null && data.rows.length > this.fold.most;
    const rows = folds && !this.isOpen ? data.rows.slice(0, this.fold.most) : data.rows;
    while (this.body.rows.length > rows.length) this.body.lastElementChild.remove();
    rows.forEach((row, i) => this.row(data, row, i));
    this.more.hidden = !folds;
    if (folds) say(this.more, this.isOpen ? this.fold.fewer() : this.fold.all(data.rows.length));
    this.more.setAttribute("aria-expanded", String(this.isOpen));
    say(this.left, data.left_out || "");
  }

  turn() {
    this.isOpen = !this.isOpen;
    this.show(this.data);
  }

  head(columns) {
    const heads = columns.map((c) =>
      el("th", { scope: "col", role: "columnheader", class: c.number ? "number" : null, title: c.help || null }, c.title),
    );
    this.body.replaceChildren();
    const table = el(
      "table",
      { role: "table" },
      el("caption", {}, this.caption),
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, heads)),
      this.body,
    );
    this.element.replaceChildren(table, this.more, this.left);
  }

  row(data, row, i) {
    let line = this.body.rows[i];
    if (!line) {
      line = el("tr", { role: "row" });
      data.columns.forEach((c, at) => {
        const attributes = { class: c.number ? "number" : null, "data-title": c.title };
        line.append(
          at ? el("td", { role: "cell", ...attributes }) : el("th", { scope: "row", role: "rowheader", ...attributes }),
        );
      });
      this.body.append(line);
    }
    row.forEach((text, at) => {
      const made = this.cell(data.columns[at], text, i, data);
      const cell = line.cells[at];
      if (made === null) {
        if (cell.childElementCount) cell.replaceChildren();
        say(cell, text);
      } else if (cell.dataset.key !== made.key) {
        cell.dataset.key = made.key;
        cell.replaceChildren(made.element());
      }
    });
  }
}
