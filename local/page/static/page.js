"use strict";

const PROMISE_MS = 10;
const MOST_LINES = 7;
const MOST_ROWS = 12;

const sum = (things, what) => {
  const known = things.map((thing) => thing[what]).filter((value) => value != null);
  return known.length ? known.reduce((total, value) => total + value, 0) : null;
};
const element = (id) => document.getElementById(id);

const day = (date) => String(dayOf(date).getUTCDate());
const charts = {
  days: new Chart("days", { kind: "bars", format: money, axis: shortMoney, empty: "No day is known yet. A back-fill delivers those that are over." }),
  spent: new Chart("spent", { kind: "lines", format: money, axis: shortMoney, empty: "Waiting for the second run." }),
  models: new Chart("models-chart", { kind: "areas", format: money, axis: shortMoney, empty: "Waiting for the second run." }),
  usage: new Chart("usage", { kind: "bars", format: money, axis: shortMoney, empty: "No Wyolet Relay gives its usage. It takes an administrator's token." }),
  tokens: new Chart("tokens", { kind: "areas", format: short, empty: "Waiting for the second run." }),
  overhead: new Chart("overhead", { kind: "lines", format: millis, empty: "No Wyolet Relay has handled a request yet." }),
  runs: new Chart("runs", { kind: "lines", format: millis, empty: "Waiting for the second run." }),
};

/* The first few lines, and all others as one. */
function fewer(lines, most = MOST_LINES) {
  if (lines.length <= most + 1) return lines;
  const rest = lines.slice(most);
  const values = rest[0].values.map((_, at) => sum(rest.map((line) => ({ value: line.values[at] })), "value"));
  return [...lines.slice(0, most), { name: OTHERS, values }];
}

/* A table's rows: each cell a text, or {text, note, share, mood}. Names come from outside: only as text. */
function fill(id, rows, nothing, most = MOST_ROWS) {
  const body = element(id).tBodies[0];
  const span = element(id).tHead.rows[0].cells.length;
  const shown = rows.slice(0, most);
  if (!rows.length) shown.push([{ text: nothing, mood: "empty", span }]);
  if (rows.length > most) shown.push([{ text: `and ${whole(rows.length - most)} more`, mood: "empty", span }]);
  body.replaceChildren(
    ...shown.map((cells) => {
      const row = document.createElement("tr");
      cells.forEach((cell, place) => {
        const { text, note, share, mood, span: columns } = typeof cell === "object" ? cell : { text: cell };
        const made = document.createElement(place || columns ? "td" : "th");
        if (!place && !columns) made.scope = "row";
        made.append(html("span", mood ?? "", text));
        if (mood === "empty") made.className = "empty";
        if (columns) made.colSpan = columns;
        if (share != null) {
          const bar = html("span", `meter ${share >= 0.95 ? "bad" : share >= 0.8 ? "warn" : ""}`);
          bar.style.setProperty("--share", `${Math.min(100, 100 * share)}%`);
          made.append(bar);
          made.classList.add("share");
        }
        if (note) made.append(html("small", "", note));
        row.append(made);
      });
      return row;
    }),
  );
}

function tile(name, text, note = "", bad = false) {
  const shown = document.querySelector(`[data-tile="${name}"]`);
  shown.textContent = text;
  shown.classList.toggle("bad", bad);
  document.querySelector(`[data-note="${name}"]`).textContent = note;
}

function showTiles({ keys, models, relays, overhead, tokens, days, rate_usd }) {
  const { month } = days;
  const p99 = overhead.p99.findLast((value) => value != null);
  const today = sum(keys, "today");
  const yesterday = days.dates.length ? sum(days.keys.map((key) => ({ value: key.values.at(-2) })), "value") : null;
  tile("today", money(today), yesterday == null ? "" : `yesterday ${money(yesterday)}`);
  const projected = month.projected == null ? "" : `about ${money(Math.round(month.projected)).replace(/\.00$/, "")} by ${dayAndMonth(month.ends)}`;
  tile("month", shortMonth(sum(keys, "month")), projected);
  tile("burn", rate_usd == null ? MISSING : `${money(rate_usd)}/h`, rate_usd == null ? "" : "over the last hour");
  const requests = sum(keys, "requests");
  tile("requests", whole(requests), requests && today != null ? `${small(today / requests)} each` : "");
  const read = tokens["cache read"].findLast((value) => value != null);
  const fresh = ["input", "cache write"].map((kind) => tokens[kind].findLast((value) => value != null) ?? 0);
  const into = read == null ? 0 : read + fresh[0] + fresh[1];
  tile("tokens", short(sum(keys, "tokens")), into ? `${percent(read / into)} of input cached` : "");
  const broken = p99 != null && 1000 * p99 >= PROMISE_MS;
  tile("p99", millis(p99 == null ? null : 1000 * p99), p99 == null ? "" : `${broken ? "over" : "within"} the promised ${PROMISE_MS} ms`, broken);
  const up = relays.filter((relay) => relay.up).length;
  const errors = sum(relays, "errors");
  tile("up", relays.length ? `${up} of ${relays.length}` : MISSING, errors ? `${whole(errors)} errors in the last run` : relays.length ? "no errors" : "", up < relays.length);
}

const shortMonth = (usd) => (usd == null ? MISSING : usd < 100000 ? money(usd) : compactMoney(usd));

function showDays({ days }) {
  const thisMonth = days.dates.at(-1)?.slice(0, 7);
  const { month } = days;
  element("days-note").textContent = month.before == null ? "USD, by the relay's own calendar" : `USD; last month to the same day ${money(month.before)}`;
  charts.days.show(days.dates, fewer(days.keys, 6), {
    name: dayName,
    tick: (date) => (date.endsWith("-01") ? monthName(date) : day(date)),
    dim: (date) => date.slice(0, 7) !== thisMonth,
    partial: true,
  });
}

function showUsage({ usage }) {
  element("usage-note").textContent = usage.usd == null ? "USD an hour by model" : `USD an hour by model, ${money(usage.usd)} in 24 hours`;
  charts.usage.show(usage.hours, fewer(usage.models), {
    name: (hour) => `${clock(hour)} to ${clock(hour + 3600)}`,
    tick: clock,
    partial: true,
  });
  fill(
    "usage-keys",
    usage.keys.map((key) => {
      const share = usage.usd > 0 ? key.usd / usage.usd : null;
      return [{ text: key.name, note: key.team ? `team ${key.team}` : "" }, money(key.usd), { text: percent(share) }, whole(key.requests), key.requests ? precise(key.usd / key.requests) : MISSING];
    }),
    "No usage yet.",
  );
}

function showSoon({ soon, now }) {
  const rows = soon.map((one) => {
    const used = one.share == null ? { text: "" } : { text: one.unit === "%" ? percent(one.share) : `${money(one.used)} of ${shortMoney(one.limit)}`, share: one.share };
    const back = one.resets == null ? "" : `starts over in ${until(one.resets - now)}`;
    const when = {
      out: { text: "now", mood: "bad", note: one.resets == null ? "for good" : `back in ${until(one.resets - now)}` },
      ends: { text: one.at == null ? "" : `in ${until(one.at - now)}`, mood: one.at - now < 3 * 3600 ? "bad" : one.at - now < 86400 ? "warn" : "", note: one.at == null ? "" : whenIs(one.at, now) },
      holds: { text: "holds", mood: "good", note: back },
    }[one.state];
    return [{ text: one.of, note: one.what }, used, when];
  });
  fill("soon", rows, "Nothing has a limit.", 8);
}

const whenIs = (time, now) => (time - now < 86400 ? `at ${clock(time)}` : new Date(time * 1000).toLocaleDateString("en-GB", { weekday: "short", day: "numeric", month: "short" }));

function showTables({ keys, models, relays, accounts, now }) {
  fill(
    "keys",
    keys.map((key) => {
      const share = key.limit > 0 && key.today != null ? key.today / key.limit : null;
      return [key.name, money(key.today), share == null ? { text: "no limit", mood: "faint" } : { text: percent(share), share }, money(key.month), whole(key.requests)];
    }),
    "No keys yet.",
  );
  const spent = sum(models, "cost");
  fill(
    "models",
    models.map((model) => {
      const share = spent > 0 && model.cost != null ? model.cost / spent : null;
      return [model.name, money(model.cost), { text: percent(share) }, short(model.tokens), whole(model.requests)];
    }),
    "No models yet.",
  );
  const window = (one) => (one == null ? { text: MISSING, mood: "faint" } : { text: percent(one.share), share: one.share, note: one.resets ? `resets in ${until(one.resets - now)}` : "" });
  const moods = { "in use": "good", paused: "faint", limited: "warn", down: "bad" };
  fill(
    "accounts",
    accounts.map((one) => [
      { text: one.name ?? one.of, note: one.platform },
      { text: one.state, mood: moods[one.state], note: one.back ? `back in ${until(one.back - now)}` : "" },
      window(one.five_hours),
      window(one.seven_days),
    ]),
    "No accounts: it takes an administrator's login to the relay.",
  );
  fill(
    "relays",
    relays.map((relay) => [
      { text: relay.name, note: relay.kind },
      { text: relay.up ? "up" : "down", mood: relay.up ? "good" : "bad" },
      whole(relay.samples),
      millis(relay.seconds == null ? null : 1000 * relay.seconds),
      { text: whole(relay.errors), mood: relay.errors ? "bad" : undefined },
    ]),
    "No run yet.",
  );
}

function show(figures) {
  const { keys, models, overhead, times } = figures;
  element("simulated").hidden = !figures.simulated;
  showTiles(figures);
  showDays(figures);
  showUsage(figures);
  showSoon(figures);
  showTables(figures);
  const most = (key) => Math.max(0, ...key.spent);
  const shown = keys.filter(most).slice(0, MOST_LINES + 1);
  charts.spent.show(times, shown.map((key) => ({ name: key.name, values: key.spent })), {
    limits: shown.filter((key) => key.limit > 0 && most(key) > key.limit / 4).map((key) => ({ name: `limit of ${key.name}, ${shortMoney(key.limit)}`, value: key.limit, line: key.name })),
  });
  charts.models.show(times, fewer(models.map((model) => ({ name: model.name, values: model.rate }))));
  charts.tokens.show(times, Object.entries(figures.tokens).filter(([, values]) => values.some((value) => value != null)).map(([name, values]) => ({ name, values })));
  const inMillis = (values) => values.map((value) => (value == null ? null : 1000 * value));
  const known = overhead.p99.some((value) => value != null);
  charts.overhead.show(times, known ? ["p99", "p50"].map((name) => ({ name, values: inMillis(overhead[name]) })) : [], {
    limits: [{ name: `promise of the p99, ${PROMISE_MS} ms`, value: PROMISE_MS, always: true }],
  });
  charts.runs.show(times, figures.relays.map((relay) => ({ name: relay.name, values: inMillis(relay.took) })));
  trouble(figures.trouble);
  document.body.dataset.run = figures.run;
}

/* An alert is read out where it changes: so it is not written anew where it does not. */
function trouble(text) {
  const shown = element("trouble");
  if (shown.textContent === (text ?? "")) return;
  shown.hidden = !text;
  shown.textContent = text ?? "";
}

function status(mood, text) {
  element("status").className = mood;
  element("status").querySelector(".text").textContent = text;
}

let last = null;

function tellAge() {
  if (!last) return;
  const age = Math.max(0, Math.round(last.now - last.times.at(-1) + (performance.now() - last.came) / 1000));
  if (last.replaying) return status("late", `collecting the day so far: ${last.replaying} runs to go`);
  status(last.trouble ? "late" : "live", `run ${last.run}, ${age} s ago · every ${last.every_s} s`);
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
    document.body.classList.remove("stale");
    wait = Math.min(Math.max(1000 * figures.every_s, 1000), 10000);
  } catch (error) {
    last = null;
    document.body.classList.add("stale");
    status("ended", "no answer");
    trouble(`make demo-serve does not answer: has it ended? What is shown stands still. (${error.message})`);
  }
  setTimeout(renew, wait);
}

setInterval(tellAge, 1000);
renew();
