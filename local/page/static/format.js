"use strict";

/* Figures as text. What is missing is a dash, never a zero. */
const MISSING = "–";
const written = (options) => {
  const format = new Intl.NumberFormat("en", options);
  return (value) => (value == null ? MISSING : format.format(value));
};
const money = written({ style: "currency", currency: "USD" });
const shortMoney = (usd) => (usd == null ? MISSING : Math.abs(usd) < 1000 ? trimmed(money(usd)) : compactMoney(usd));
const compactMoney = written({ style: "currency", currency: "USD", notation: "compact", maximumFractionDigits: 1 });
const small = written({ style: "currency", currency: "USD", maximumSignificantDigits: 2 });
const precise = written({ style: "currency", currency: "USD", minimumFractionDigits: 4, maximumFractionDigits: 4 });
const trimmed = (text) => text.replace(/\.00$/, "");
const whole = written({ maximumFractionDigits: 0 });
const short = written({ notation: "compact", maximumFractionDigits: 1 });
const percent = written({ style: "percent", maximumFractionDigits: 0 });
const millis = (ms) => (ms == null ? MISSING : ms >= 1000 ? `${Number((ms / 1000).toFixed(1))} s` : `${ms < 10 ? Number(ms.toFixed(1)) : ms.toFixed(0)} ms`);

const clock = (time, seconds = false) =>
  new Date(time * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: seconds ? "2-digit" : undefined });
const dayOf = (date) => new Date(`${date}T12:00:00Z`);
const dayAndMonth = (date) => dayOf(date).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const monthName = (date) => dayOf(date).toLocaleDateString("en-GB", { month: "short", timeZone: "UTC" });
const dayName = (date) => dayOf(date).toLocaleDateString("en-GB", { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });

/* A time from now on: the two largest parts of it. */
function until(seconds) {
  const parts = [["d", 86400], ["h", 3600], ["min", 60]];
  const first = parts.findIndex(([, length]) => seconds >= length);
  if (first < 0) return "under a minute";
  let left = seconds;
  return parts
    .slice(first, first + 2)
    .map(([name, length]) => {
      const count = Math.floor(left / length);
      left -= count * length;
      return count ? `${count} ${name}` : "";
    })
    .filter(Boolean)
    .join(" ");
}
