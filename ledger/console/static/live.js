// The feed: changes as the stream tells them. What finds no room, or comes while it is paused, is counted.
import { inZone } from "./times.js";

const MOST_ROWS = 200;
const MOST_WAITING = 200;
const feed = document.querySelector("#feed");
const body = feed.tBodies[0];
const state = document.querySelector("#live-state");
const pause = document.querySelector("#pause");
const gap = document.querySelector("#live-gap");
const dark = document.querySelector("#live-dark");
const filters = document.querySelector("#live-filters");
const counts = Object.fromEntries(["shown", "skipped", "hidden"].map((name) => [name, { node: document.querySelector(`#${name}`), number: 0 }]));
const causes = JSON.parse(feed.dataset.causes);
const reasons = JSON.parse(feed.dataset.reasons);
const devices = JSON.parse(feed.dataset.devices);

let waiting = [];
let paused = false;
let drawing = false;
let begun = false;

function count(name, number = 1) {
  counts[name].number += number;
  counts[name].node.textContent = counts[name].number.toLocaleString();
}

function wanted(presence) {
  const { q, status, source } = filters.elements;
  return (
    (!q.value || presence.uid.includes(q.value)) &&
    (!status.value || presence.status === status.value) &&
    (!source.value || presence.devices.some((device) => device.source === source.value))
  );
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function badge(status) {
  return element("span", feed.dataset[status] ?? status, `badge status-${status}`);
}

function deviceName({ device, device_flag: flag }) {
  return (devices[flag === null ? "any" : device] ?? device).replace("{flag}", () => flag);
}

function userLink(uid) {
  const link = element("a");
  link.href = uid === "." || uid === ".." ? `/users/?uid=${uid}` : `/users/${encodeURIComponent(uid)}`;
  link.append(element("bdi", uid, "uid"));
  return link;
}

function row(presence) {
  const made = element("tr");
  const at = element("time", inZone(presence.as_of.at, new Date(), true));
  at.dateTime = at.title = presence.as_of.at;
  const status = element("td");
  const before = presence.previous?.status;
  if (before && before !== presence.status) status.append(badge(before), " → ");
  status.append(badge(presence.status));
  if (before === presence.status) status.append(" ", element("small", feed.dataset.same));
  if (presence.reason) status.append(" ", element("small", reasons[presence.reason] ?? presence.reason));
  const held = element("td");
  for (const device of presence.devices) {
    if (device.sessions) held.append(element("span", `${deviceName(device)} ×${device.sessions}`, "badge"), " ");
  }
  const cause = element("td");
  if (presence.cause) {
    const link = element("a", `#${presence.cause.position.toLocaleString()}`, "position");
    link.href = `/events/${presence.cause.position}`;
    cause.append(causes[presence.cause.kind] ?? presence.cause.kind, " ", link);
  }
  const cells = [element("td"), element("th"), status, held, cause];
  cells[0].append(at);
  cells[1].scope = "row";
  cells[1].append(userLink(presence.uid));
  made.append(...cells);
  return made;
}

function draw() {
  drawing = false;
  const rows = waiting.reverse().map(row);
  waiting = [];
  count("shown", rows.length);
  body.prepend(...rows);
  while (body.rows.length > MOST_ROWS) body.lastElementChild.remove();
}

function take(presence) {
  if (!wanted(presence)) return count("hidden");
  if (paused) return count("skipped");
  waiting.push(presence);
  if (waiting.length > MOST_WAITING) {
    waiting.shift();
    count("skipped");
  }
  if (!drawing) {
    drawing = true;
    requestAnimationFrame(draw);
  }
}

// Whoever watches everybody is told of a source that goes dark, not of each of its users.
function takeSource({ source, status, since }) {
  for (const line of [...dark.children]) if (line.dataset.source === source) line.remove();
  if (status !== "dark") return;
  const said = dark.dataset.dark.replace("{source}", () => source).replace("{since}", () => inZone(since));
  const line = element("p", said, "warning");
  line.dataset.source = source;
  dark.append(line);
}

function resume({ recovered }) {
  if (begun && !recovered) gap.hidden = false;
  begun = true;
}

const stream = new EventSource("/live/feed?snapshot=false");
stream.addEventListener("open", () => (state.textContent = state.dataset.open));
stream.addEventListener("presence", (event) => take(JSON.parse(event.data)));
stream.addEventListener("source", (event) => takeSource(JSON.parse(event.data)));
stream.addEventListener("resumed", (event) => resume(JSON.parse(event.data)));
stream.addEventListener("error", () => {
  state.textContent = stream.readyState === EventSource.CLOSED ? state.dataset.ended : state.dataset.lost;
});
addEventListener("pagehide", () => stream.close());

pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? pause.dataset.resume : pause.dataset.pause;
});
filters.addEventListener("submit", (event) => event.preventDefault());
