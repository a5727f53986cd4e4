"use strict";

const SVG = "http://www.w3.org/2000/svg";
const LEAST_HEIGHT = 232;
const TOP = 12;
const FOOT = 24;
const OTHERS = "others";

function make(name, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text != null) made.textContent = text;
  return made;
}

function html(name, className, text = null) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text != null) made.textContent = text;
  return made;
}

const ruler = document.createElement("canvas").getContext("2d");
function widthOf(text) {
  ruler.font = `11.5px ${getComputedStyle(document.body).fontFamily}`;
  return ruler.measureText(text).width;
}

/* Round steps from 0 to at least `most`. */
function ticksTo(most, count = 4) {
  const rough = (most || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const ticks = [];
  for (let place = 0; (place - 1) * step < most * 0.999 || place < 2; place += 1) ticks.push(place * step);
  return ticks;
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 14400, 21600, 43200, 86400];
function timesBetween(from, to, most) {
  const step = STEPS.find((one) => (to - from) / one <= most) ?? 86400;
  const shift = new Date(from * 1000).getTimezoneOffset() * 60;
  const ticks = [];
  for (let at = Math.ceil((from - shift) / step) * step + shift; at <= to; at += step) ticks.push(at);
  return { ticks, seconds: step < 60 };
}

/*
 * A chart in one of the page's boxes: lines, stacked areas, or stacked bars.
 *
 * kind: "lines", "areas" or "bars". format: of its values, axis: of its ticks.
 * It is read with the mouse, a finger, or the arrow keys; screen readers hear each value, and have
 * the same figures as a table.
 */
class Chart {
  constructor(id, { kind, format, axis = format, empty }) {
    this.box = document.getElementById(id);
    this.title = this.box.closest("section").querySelector("h2").firstChild.textContent.trim();
    Object.assign(this, { id, kind, format, axis, empty, hidden: new Set(), cursor: null });
    this.legend = html("ul", "legend");
    this.plot = html("div", "plot");
    this.plot.tabIndex = 0;
    this.plot.setAttribute("role", "img");
    this.tip = html("div", "tip");
    this.tip.hidden = true;
    this.spoken = html("p", "unseen");
    this.spoken.setAttribute("aria-live", "polite");
    this.table = html("table");
    const unseen = html("div", "unseen");
    unseen.append(this.table);
    this.box.append(this.legend, this.plot, this.spoken, unseen);
    this.plot.addEventListener("keydown", (event) => this.key(event));
    this.plot.addEventListener("pointermove", (event) => this.point(event));
    this.plot.addEventListener("pointerdown", (event) => this.point(event));
    for (const leaving of ["pointerleave", "blur"]) this.plot.addEventListener(leaving, () => this.leave());
    new ResizeObserver(() => this.shown && this.draw()).observe(this.plot);
  }

  /*
   * places: what is along the axis, epoch seconds, or texts of bars. lines: [{name, values, faint}],
   * in the order of their colours. limits: [{name, value, line}] drawn dashed; `line` is the name of
   * whose limit it is. dim: bars that are of an earlier month. partial: the last bar is not over yet.
   */
  show(places, lines, { limits = [], dim = () => false, partial = false, name = String, tick = name } = {}) {
    this.shown = { places, lines, limits, dim, partial, name, tick };
    this.draw();
  }

  draw() {
    const { places, lines } = this.shown;
    const enough = lines.length && places.length > (this.kind === "bars" ? 0 : 1);
    this.box.classList.toggle("nothing", !enough);
    if (!enough) {
      this.legend.replaceChildren();
      this.table.replaceChildren();
      this.plot.replaceChildren(html("p", "empty", this.empty));
      this.plot.removeAttribute("tabindex");
      this.plot.setAttribute("aria-label", `${this.title}: ${this.empty}`);
      return;
    }
    this.plot.tabIndex = 0;
    this.colour = new Map(lines.map((line, place) => [line.name, line.name === OTHERS ? "others" : line.faint ? "faint" : `series-${(place % 8) + 1}`]));
    this.drawLegend();
    this.drawPlot();
    this.tabulate();
    if (this.cursor != null) this.look(Math.min(this.cursor, places.length - 1), false);
  }

  get seen() {
    return this.shown.lines.filter((line) => !this.hidden.has(line.name));
  }

  drawLegend() {
    const items = this.shown.lines.map((line) => {
      const latest = this.kind === "bars" ? line.values.at(-1) : line.values.findLast((value) => value != null);
      const button = html("button");
      button.type = "button";
      button.dataset.name = line.name;
      button.setAttribute("aria-pressed", String(!this.hidden.has(line.name)));
      const mark = html("span", "mark");
      mark.style.background = `var(--${this.colour.get(line.name)})`;
      button.append(mark, html("span", "name", line.name), html("span", "value", this.format(latest)));
      button.addEventListener("click", () => {
        if (!this.hidden.delete(line.name)) this.hidden.add(line.name);
        this.draw();
        [...this.legend.querySelectorAll("button")].find((one) => one.dataset.name === line.name)?.focus();
      });
      const item = html("li");
      item.append(button);
      return item;
    });
    const focused = this.legend.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    this.legend.replaceChildren(...items);
    if (focused != null) [...this.legend.querySelectorAll("button")].find((one) => one.dataset.name === focused)?.focus();
  }

  drawPlot() {
    const { places, limits, partial, dim } = this.shown;
    const bars = this.kind === "bars";
    const lines = this.seen;
    const stacked = this.kind !== "lines";
    const tops = places.map((_, at) => {
      const known = lines.map((line) => line.values[at]).filter((value) => value != null);
      return known.length ? (stacked ? known.reduce((sum, value) => sum + value, 0) : Math.max(...known)) : 0;
    });
    let most = Math.max(...tops, 0);
    // a limit that is far away would flatten what there is
    const near = limits.filter((limit) => limit.always || (limit.value <= 2.5 * most && (!limit.line || !this.hidden.has(limit.line))));
    most = Math.max(most, ...near.map((limit) => limit.value * 1.04));
    const ticks = ticksTo(most);
    const labels = ticks.map((value) => this.axis(value));
    const width = Math.max(this.plot.clientWidth, 200);
    const height = Math.max(this.plot.clientHeight, LEAST_HEIGHT);
    const left = Math.ceil(Math.max(...labels.map(widthOf))) + 12;
    const right = bars ? 4 : 10;
    const inside = width - left - right;
    const y = (value) => TOP + (height - TOP - FOOT) * (1 - value / ticks.at(-1));
    const [from, to] = [places[0], places.at(-1)];
    const slot = inside / places.length;
    const x = bars ? (at) => left + slot * (at + 0.5) : (at) => left + (inside * (places[at] - from)) / (to - from || 1);
    this.geometry = { left, right: width - right, x, y, height };

    const svg = make("svg", { width, height, "aria-hidden": "true" });
    ticks.forEach((value, place) => {
      svg.append(make("line", { class: place ? "grid" : "base", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
      svg.append(make("text", { class: "label", x: left - 8, y: y(value) + 4, "text-anchor": "end" }, labels[place]));
    });
    this.drawPlaces(svg, { left, inside, from, to, x, slot, baseline: height - 6 });

    const below = places.map(() => 0);
    lines.forEach((line) => {
      const colour = `var(--${this.colour.get(line.name)})`;
      if (bars) {
        line.values.forEach((value, at) => {
          if (!value) return;
          const kind = `bar${dim(places[at]) ? " dim" : ""}${partial && at === places.length - 1 ? " partial" : ""}`;
          const [low, high] = [below[at], below[at] + value];
          const thick = Math.max(1, Math.min(slot * 0.72, 34));
          svg.append(make("rect", { class: kind, fill: colour, x: x(at) - thick / 2, width: thick, y: y(high), height: Math.max(0, y(low) - y(high)) }));
          below[at] = high;
        });
      } else if (stacked) {
        const high = line.values.map((value, at) => below[at] + (value ?? 0));
        const there = places.map((_, at) => at).filter((at) => lines.some((one) => one.values[at] != null));
        const upper = there.map((at) => `${x(at).toFixed(1)},${y(high[at]).toFixed(1)}`);
        const lower = there.map((at) => `${x(at).toFixed(1)},${y(below[at]).toFixed(1)}`).reverse();
        if (there.length > 1) {
          svg.append(make("path", { class: "area", fill: colour, d: `M${upper.join("L")}L${lower.join("L")}Z` }));
          svg.append(make("path", { class: "edge", stroke: colour, d: `M${upper.join("L")}` }));
        }
        high.forEach((value, at) => (below[at] = value));
      } else {
        let path = "";
        line.values.forEach((value, at) => {
          if (value == null) return;
          const broken = at === 0 || line.values[at - 1] == null;
          path += `${broken ? "M" : "L"}${x(at).toFixed(1)},${y(value).toFixed(1)}`;
        });
        svg.append(make("path", { class: "line", stroke: colour, d: path }));
      }
    });
    const taken = [];
    for (const limit of [...near].sort((one, other) => other.value - one.value)) {
      const colour = limit.line ? `var(--${this.colour.get(limit.line)})` : "var(--limit)";
      const at = y(limit.value);
      svg.append(make("line", { class: "limit", stroke: colour, x1: left, x2: width - right, y1: at, y2: at }));
      if (taken.some((other) => Math.abs(other - at) < 13)) continue;
      taken.push(at);
      svg.append(make("text", { class: "limit-name", fill: colour, x: left + 6, y: at - 5 }, limit.name));
    }
    this.rule = make("g", { class: "rule", visibility: "hidden" });
    svg.append(this.rule);
    this.plot.replaceChildren(svg, this.tip);
    const summary = lines.slice(0, 6).map((line) => `${line.name} ${this.format(line.values.findLast((value) => value != null))}`);
    this.plot.setAttribute("aria-label", `${this.title}, chart. Latest: ${summary.join("; ")}. Arrow keys read it.`);
  }

  drawPlaces(svg, { left, inside, from, to, x, slot, baseline }) {
    const { places, tick } = this.shown;
    if (this.kind === "bars") {
      const every = Math.ceil((Math.max(...places.map((place) => widthOf(tick(place)))) + 10) / slot);
      places.forEach((place, at) => {
        if ((places.length - 1 - at) % every) return;
        svg.append(make("text", { class: "label", x: x(at), y: baseline, "text-anchor": "middle" }, tick(place)));
      });
      return;
    }
    const { ticks, seconds } = timesBetween(from, to, Math.max(2, Math.floor(inside / 84)));
    for (const time of ticks) {
      const at = left + (inside * (time - from)) / (to - from || 1);
      const text = clock(time, seconds);
      const half = widthOf(text) / 2;
      if (at - half < left - 10 || at + half > left + inside + 10) continue;
      svg.append(make("text", { class: "label", x: at, y: baseline, "text-anchor": "middle" }, text));
    }
  }

  placeName(at) {
    const { places, name } = this.shown;
    return this.kind === "bars" ? name(places[at]) : clock(places[at], places.at(-1) - places[0] < 3600);
  }

  /* Read the values of one place. */
  look(at, aloud) {
    if (!this.geometry || this.box.classList.contains("nothing")) return;
    this.cursor = at;
    const { x, y, left, right, height } = this.geometry;
    const rows = this.seen.map((line) => ({ line, value: line.values[at] })).filter(({ value }) => value != null);
    const total = rows.reduce((sum, { value }) => sum + value, 0);
    const place = x(at);
    this.rule.replaceChildren(make("line", { x1: place, x2: place, y1: TOP, y2: height - FOOT }));
    if (this.kind === "lines") {
      for (const { line, value } of rows) {
        this.rule.append(make("circle", { cx: place, cy: y(value), r: 3.5, fill: `var(--${this.colour.get(line.name)})` }));
      }
    }
    this.rule.setAttribute("visibility", "visible");
    const list = html("ul");
    const ordered = [...rows].sort((one, other) => other.value - one.value).slice(0, 9);
    for (const { line, value } of ordered) {
      const item = html("li");
      const mark = html("span", "mark");
      mark.style.background = `var(--${this.colour.get(line.name)})`;
      item.append(mark, html("span", "name", line.name), html("span", "value", this.format(value)));
      list.append(item);
    }
    const heading = html("p");
    heading.append(html("strong", "", this.placeName(at)));
    if (this.kind !== "lines" && rows.length > 1) heading.append(html("span", "value", this.format(total)));
    this.tip.replaceChildren(heading, list);
    this.tip.hidden = false;
    const wide = this.tip.offsetWidth;
    const aside = place + 14 + wide > right ? place - 14 - wide : place + 14;
    this.tip.style.left = `${Math.max(left, Math.min(aside, right - wide))}px`;
    if (aloud) {
      const said = ordered.map(({ line, value }) => `${line.name} ${this.format(value)}`);
      if (this.kind !== "lines") said.unshift(`together ${this.format(total)}`);
      this.spoken.textContent = `${this.placeName(at)}: ${said.join(", ") || "nothing"}`;
    }
  }

  leave() {
    this.cursor = null;
    this.tip.hidden = true;
    this.rule?.setAttribute("visibility", "hidden");
  }

  key(event) {
    const last = this.shown.places.length - 1;
    const now = this.cursor ?? last;
    const jump = Math.max(1, Math.round(last / 10));
    const to = {
      ArrowLeft: this.cursor == null ? last : now - 1,
      ArrowRight: now + 1,
      PageUp: now - jump,
      PageDown: now + jump,
      Home: 0,
      End: last,
    }[event.key];
    if (event.key === "Escape") this.leave();
    if (to == null) return;
    event.preventDefault();
    this.look(Math.max(0, Math.min(last, to)), true);
  }

  point(event) {
    if (!this.geometry) return;
    const at = event.clientX - this.plot.getBoundingClientRect().left;
    const { x } = this.geometry;
    const distance = (place) => Math.abs(x(place) - at);
    const { places } = this.shown;
    let nearest = 0;
    for (let place = 1; place < places.length; place += 1) if (distance(place) < distance(nearest)) nearest = place;
    this.look(nearest, false);
  }

  /* The same figures for those who do not see the chart: at most a dozen places, the last among them. */
  tabulate() {
    const { places } = this.shown;
    const step = Math.ceil(places.length / 12);
    const chosen = places.map((_, at) => at).filter((at) => (places.length - 1 - at) % step === 0);
    const head = html("tr");
    head.append(...["", ...this.seen.map((line) => line.name)].map((text) => html("th", "", text)));
    const rows = chosen.map((at) => {
      const row = html("tr");
      row.append(html("th", "", this.placeName(at)), ...this.seen.map((line) => html("td", "", this.format(line.values[at]))));
      return row;
    });
    this.table.replaceChildren(html("caption", "", this.title), head, ...rows);
  }
}
