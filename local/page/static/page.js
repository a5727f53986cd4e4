"use strict";

const PROMISE_MS = 10;
const PROMISE = "promise of the p99";
const MOST_LINES = 8;
const MOST_ROWS = 20;
const MISSING = "–";

const money = (usd) => (usd == null ? MISSING : usd.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 }));
const whole = (count) => (count == null ? MISSING : count.toLocaleString("en", { maximumFractionDigits: 0 }));
const short = (count) => (count == null ? MISSING : count.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 }));
const millis = (ms) => (ms == null ? MISSING : `${ms.toFixed(ms < 10 ? 1 : 0)} ms`);
const percent = (share) => (share == null ? MISSING : `${Math.round(100 * share)} %`);
const sum = (things, what) => {
  const known = things.map((thing) => thing[what]).filter((value) => value != null);
  return known.length ? known.reduce((total, value) => total + value, 0) : null;
};

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const element = (id) => document.getElementById(id);

/* A chart in one of the page's boxes. It is made anew where its lines or the theme change. */
class Chart {
  constructor(id, format, { floor = null } = {}) {
    this.box = element(id);
    this.format = format;
    this.floor = floor;
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(this.box);
  }

  size() {
    return { width: Math.max(this.box.clientWidth, 200), height: 220 };
  }

  /* lines: [{name, values}], in the order of their colours. */
  show(times, lines) {
    this.shown = [times, lines];
    if (times.length < 2 || !lines.length) {
      this.box.textContent = "Waiting for the second run.";
      return;
    }
    const names = lines.map((line) => line.name);
    const data = [times, ...lines.map((line) => line.values)];
    if (this.plot && this.names?.join("\n") === names.join("\n")) {
      this.plot.setData(data);
    } else {
      this.draw(names, data);
    }
  }

  draw(names, data) {
    this.plot?.destroy();
    this.box.textContent = "";
    this.names = names;
    const latest = (values) => values.findLast((value) => value != null);
    const clock = (time, seconds) =>
      new Date(time * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: seconds ? "2-digit" : undefined });
    const axis = { stroke: colour("faint"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 } };
    this.plot = new uPlot(
      {
        ...this.size(),
        scales: { y: { range: (_, least, most) => [Math.min(0, least ?? 0), Math.max(most ?? 0, this.floor ?? 0) * 1.08 || 1] } },
        axes: [{ ...axis, size: 32, space: 80, values: (_, ticks, __, ___, step) => ticks.map((tick) => clock(tick, step < 60)) }, { ...axis, size: 58, values: (_, ticks) => ticks.map((tick) => this.format(tick)) }],
        series: [
          { label: "at", value: (plot, time, _, place) => clock(place == null ? latest(plot.data[0]) : time, true) },
          ...names.map((name, place) => ({
            label: name,
            stroke: colour(name === PROMISE ? "faint" : `series-${(place % 6) + 1}`),
            width: 2,
            points: { show: false },
            dash: name === PROMISE ? [6, 4] : undefined,
            value: (plot, value, line, at) => this.format(at == null ? latest(plot.data[line]) : value),
          })),
        ],
      },
      data,
      this.box,
    );
  }

  redraw() {
    this.names = null;
    if (this.shown) this.show(...this.shown);
  }
}

const charts = {
  spent: new Chart("spent", money),
  tokens: new Chart("tokens", short),
  overhead: new Chart("overhead", millis, { floor: PROMISE_MS }),
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Object.values(charts).forEach((chart) => chart.redraw()));

/* A table's rows: each cell a text, or {text, share, mood}. Names come from outside: only as text. */
function fill(id, rows, nothing) {
  const body = element(id).tBodies[0];
  const span = element(id).tHead.rows[0].cells.length;
  const shown = rows.slice(0, MOST_ROWS);
  if (!rows.length) shown.push([{ text: nothing, mood: "empty", span }]);
  if (rows.length > MOST_ROWS) shown.push([{ text: `and ${whole(rows.length - MOST_ROWS)} more`, mood: "empty", span }]);
  body.replaceChildren(
    ...shown.map((cells) => {
      const row = document.createElement("tr");
      for (const cell of cells) {
        const { text, share, mood, span } = typeof cell === "object" ? cell : { text: cell };
        const made = row.insertCell();
        made.textContent = text;
        if (mood) made.classList.add(mood);
        if (span) made.colSpan = span;
        if (share != null) {
          made.classList.add("share");
          made.style.setProperty("--share", `${Math.min(100, 100 * share)}%`);
        }
      }
      return row;
    }),
  );
}

function tile(name, text, bad = false) {
  const shown = document.querySelector(`[data-tile="${name}"]`);
  shown.textContent = text;
  shown.classList.toggle("bad", bad);
}

function show(figures) {
  const { keys, models, relays, overhead } = figures;
  const p99 = overhead.p99.findLast((value) => value != null);
  tile("today", `$${money(sum(keys, "today"))}`);
  tile("month", `$${money(sum(keys, "month"))}`);
  tile("requests", whole(sum(keys, "requests")));
  tile("tokens", short(sum(keys, "tokens")));
  tile("p99", millis(p99 == null ? null : 1000 * p99), p99 != null && 1000 * p99 >= PROMISE_MS);
  const up = relays.filter((relay) => relay.up).length;
  tile("up", relays.length ? `${up} of ${relays.length}` : MISSING, up < relays.length);

  fill(
    "keys",
    keys.map((key) => {
      const share = key.limit > 0 && key.today != null ? key.today / key.limit : null;
      const mood = share >= 0.95 ? "bad" : undefined;
      return [key.name, money(key.today), share == null ? "no limit" : { text: percent(share), share, mood }, money(key.month), whole(key.requests)];
    }),
    "No keys yet.",
  );
  const spent = sum(models, "cost");
  fill(
    "models",
    models.map((model) => {
      const share = spent > 0 && model.cost != null ? model.cost / spent : null;
      return [model.name, money(model.cost), { text: percent(share), share }, short(model.tokens), whole(model.requests)];
    }),
    "No models yet.",
  );
  fill(
    "relays",
    relays.map((relay) => [
      relay.name,
      relay.kind,
      { text: relay.up ? "up" : "down", mood: relay.up ? "good" : "bad" },
      whole(relay.samples),
      millis(relay.seconds == null ? null : 1000 * relay.seconds),
      { text: whole(relay.errors), mood: relay.errors ? "bad" : undefined },
    ]),
    "No run yet.",
  );

  const inMillis = (values) => values.map((value) => (value == null ? null : 1000 * value));
  charts.spent.show(figures.times, keys.slice(0, MOST_LINES).map((key) => ({ name: key.name, values: key.spent })));
  charts.tokens.show(figures.times, Object.entries(figures.tokens).map(([name, values]) => ({ name, values })));
  const promised = [
    { name: "p99", values: inMillis(overhead.p99) },
    { name: "p50", values: inMillis(overhead.p50) },
    { name: PROMISE, values: figures.times.map(() => PROMISE_MS) },
  ];
  charts.overhead.show(figures.times, p99 == null ? [] : promised);

  const trouble = element("trouble");
  trouble.hidden = !figures.trouble;
  trouble.textContent = figures.trouble ?? "";
  document.body.dataset.run = figures.run;
}

function status(mood, text) {
  element("status").className = mood;
  element("status").querySelector(".text").textContent = text;
}

let last = null;

function tellAge() {
  if (!last) return;
  const age = Math.max(0, Math.round(last.now - last.times.at(-1) + (performance.now() - last.came) / 1000));
  status("live", `run ${last.run}, ${age} s ago · every ${last.every_s} s`);
}

async function renew() {
  let wait = 2000;
  try {
    const answer = await fetch("figures.json", { signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error(`answered ${answer.status}`);
    const figures = await answer.json();
    if (figures.times.length) {
      last = { ...figures, came: performance.now() };
      tellAge();
    }
    show(figures);
    wait = Math.min(Math.max(1000 * figures.every_s, 1000), 10000);
  } catch (error) {
    last = null;
    status("ended", `the demo does not answer: has it ended? (${error.message})`);
  }
  setTimeout(renew, wait);
}

setInterval(tellAge, 1000);
renew();
