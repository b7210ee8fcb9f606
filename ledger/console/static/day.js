// The two sliders under a user's day: while one is moved, what was shown then and why is asked for and put in its place.
import { localise } from "./times.js";

const WAIT_MS = 200;
const form = document.querySelector("form.sliders");
const why = document.querySelector("#why");
const line = document.querySelector("#at-line");
const begin = Number(form.dataset.begin);
const end = Number(form.dataset.end);
const fields = { at: form.elements.at, known_at: form.elements.known_at };
const ranges = Object.fromEntries([...form.querySelectorAll(".range")].map((each) => [each.dataset.for, each]));
const spans = { at: [begin, end], known_at: [begin, Number(form.dataset.now)] };
const STEPS = 1000;

const instant = (name, value) => {
  const [from, to] = spans[name];
  return Math.round(from + ((to - from) * value) / STEPS);
};

const place = (name, ms) => {
  const [from, to] = spans[name];
  return Math.max(0, Math.min(STEPS, ((ms - from) / (to - from)) * STEPS));
};

function address(part) {
  const query = new URLSearchParams(new FormData(form));
  for (const [name, value] of [...query]) if (!value) query.delete(name);
  if (part) query.set("part", part);
  const path = new URL(form.action);
  for (const [name, value] of path.searchParams) query.set(name, value);
  path.search = query;
  return path;
}

let waiting;
let asking;

async function ask() {
  asking?.abort();
  asking = new AbortController();
  try {
    const answer = await fetch(address("why"), { signal: asking.signal, credentials: "same-origin" });
    if (answer.status === 401) return location.reload();
    // A page of ours in the same templates: whatever others wrote is text in it already.
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (answer.ok) {
      why.replaceChildren(...page.body.childNodes);
      localise(why);
      history.replaceState(null, "", address());
    }
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  }
}

function move(name) {
  const ms = instant(name, Number(ranges[name].value));
  const isNow = Number(ranges[name].value) === STEPS && spans[name][1] >= Number(form.dataset.now);
  fields[name].value = isNow ? "" : new Date(ms).toISOString();
  if (name === "at") {
    const share = `${((ms - begin) / (end - begin)) * 100}%`;
    line.setAttribute("x1", share);
    line.setAttribute("x2", share);
  }
  clearTimeout(waiting);
  waiting = setTimeout(ask, WAIT_MS);
}

for (const [name, range] of Object.entries(ranges)) {
  const given = Date.parse(fields[name].value);
  range.hidden = false;
  range.max = STEPS;
  range.value = Number.isNaN(given) ? STEPS : place(name, given);
  range.addEventListener("input", () => move(name));
}

document.querySelector("#day").addEventListener("click", (event) => {
  const box = event.currentTarget.getBoundingClientRect();
  ranges.at.value = ((event.clientX - box.left) / box.width) * STEPS;
  move("at");
});
