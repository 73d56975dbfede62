// Time lines, drawn by uPlot (uplot.js), with incidents as bands and actions as marks.

import { el, moment } from "./draw.js";

const shown = new Set();
const probe = el("span", { hidden: true });

/** The colour that a custom property of the style stands for now: a canvas knows no properties. */
function colour(name) {
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

function faded(rgb, alpha) {
  return rgb.replace("rgb(", "rgba(").replace(")", `, ${alpha})`);
}

/** Draw every chart anew, as after a change of colours. */
export function recolour() {
  for (const chart of shown) chart.draw();
}

new ResizeObserver((entries) => {
  for (const entry of entries) for (const chart of shown) chart.fit();
}).observe(document.documentElement);

/** A chart of some series over time. */
export class Chart {
  /** series: {name, title, colour (a custom property), fill}; words: of the page. */
  constructor(title, note, series, words) {
    this.series = series;
    this.time = words.time;
    this.locale = words.language;
    this.data = null;
    this.plot = null;
    this.box = el("div", { class: "plot", role: "img" });
    this.note = el("p", { class: "note" }, note);
    this.element = el("figure", { class: "chart" }, el("figcaption", {}, title), this.note, this.box);
    shown.add(this);
  }

  /** data: {first, each_s, values, since, until, bands: [{from, to}], marks: [time]}. */
  show(data, words) {
    this.data = data;
    this.box.setAttribute("aria-label", words);
    this.draw();
  }

  columns() {
    const any = this.data.values[this.series[0].name];
    const times = any.map((_, i) => this.data.first + i * this.data.each_s);
    return [times, ...this.series.map((s) => this.data.values[s.name])];
  }

  draw() {
    if (!this.data || !this.box.isConnected) return;
    if (this.plot) this.plot.destroy();
    this.plot = new uPlot(this.options(), this.columns(), this.box);
  }

  fit() {
    if (!this.plot) return;
    if (!this.box.isConnected) shown.delete(this);
    else if (this.box.clientWidth && this.plot.width !== this.box.clientWidth) this.draw();
  }

  options() {
    const soft = colour("--soft");
    const axis = { stroke: soft, grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const number = new Intl.NumberFormat(this.locale, { notation: "compact", maximumFractionDigits: 1 });
    const exact = new Intl.NumberFormat(this.locale, { maximumFractionDigits: 1 });
    return {
      width: this.box.clientWidth || 600,
      height: 190,
      padding: [14, 24, 0, 0],
      cursor: { sync: { key: "time" }, drag: { x: false, y: false } },
      legend: { show: true, live: true },
      scales: { x: { range: () => [this.data.since, this.data.until] }, y: { range: (u, low, high) => [0, Math.max(high || 0, 1) * 1.1] } },
      axes: [
        { ...axis, values: (u, splits) => this.times(splits), space: 84, size: 30 },
        { ...axis, values: (u, splits) => splits.map((v) => (v === null ? "" : number.format(v))), size: 46 },
      ],
      series: [
        { value: (u, v) => moment(v), label: this.time },
        ...this.series.map((s) => ({
          label: s.title,
          stroke: colour(s.colour),
          fill: s.fill ? faded(colour(s.colour), 0.14) : undefined,
          width: 1.5,
          spanGaps: false,
          points: { show: false },
          value: (u, v) => (v === null || v === undefined ? "–" : exact.format(v)),
        })),
      ],
      hooks: { drawClear: [(u) => this.bands(u)], draw: [(u) => this.marks(u)] },
    };
  }

  times(splits) {
    const long = this.data.until - this.data.since;
    if (long < 900) return splits.map((s) => moment(s).slice(-8));
    const format = long > 2 * 86400 ? { month: "2-digit", day: "2-digit" } : { hour: "2-digit", minute: "2-digit", hour12: false };
    const made = new Intl.DateTimeFormat(this.locale, format);
    return splits.map((s) => made.format(new Date(s * 1000)));
  }

  bands(u) {
    const { ctx, bbox } = u;
    ctx.save();
    for (const band of this.data.bands || []) {
      const from = Math.max(bbox.left, u.valToPos(band.from, "x", true));
      const to = Math.min(bbox.left + bbox.width, u.valToPos(band.to, "x", true));
      if (to < bbox.left || from > bbox.left + bbox.width) continue;
      ctx.fillStyle = faded(colour(band.colour || "--critical"), 0.13);
      ctx.fillRect(from, bbox.top, Math.max(to - from, 2 * devicePixelRatio), bbox.height);
    }
    ctx.restore();
  }

  marks(u) {
    const { ctx, bbox } = u;
    const size = 5 * devicePixelRatio;
    ctx.save();
    for (const mark of this.data.marks || []) {
      const at = u.valToPos(mark, "x", true);
      if (at < bbox.left || at > bbox.left + bbox.width) continue;
      ctx.fillStyle = ctx.strokeStyle = colour("--accent");
      ctx.lineWidth = devicePixelRatio;
      ctx.beginPath();
      ctx.moveTo(at, bbox.top);
      ctx.lineTo(at, bbox.top + bbox.height);
      ctx.globalAlpha = 0.35;
      ctx.stroke();
      ctx.globalAlpha = 1;
      ctx.beginPath();
      ctx.moveTo(at - size, bbox.top - size * 1.4);
      ctx.lineTo(at + size, bbox.top - size * 1.4);
      ctx.lineTo(at, bbox.top);
      ctx.fill();
    }
    ctx.restore();
  }
}
