// Instants in the reader's own zone; the exact one, in UTC, stays in the title.
const pad = (number, width = 2) => String(number).padStart(width, "0");

const clock = (at) => `${pad(at.getHours())}:${pad(at.getMinutes())}`;

/** `11-30 08:32:30`, with the year where it is another one, with milliseconds where the page had them. */
export function inZone(text, now = new Date(), precise = false) {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return text;
  const day = `${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  const year = at.getFullYear() === now.getFullYear() ? "" : `${pad(at.getFullYear(), 4)}-`;
  const millis = precise ? `.${pad(at.getMilliseconds(), 3)}` : "";
  return `${year}${day} ${clock(at)}:${pad(at.getSeconds())}${millis}`;
}

export function localise(root) {
  const now = new Date();
  for (const each of root.querySelectorAll("time[datetime]")) {
    each.textContent = inZone(each.dateTime, now, each.textContent.includes("."));
  }
  for (const each of root.querySelectorAll("text[data-instant]")) {
    const at = new Date(each.dataset.instant);
    each.textContent = each.dataset.span === "7d" ? `${pad(at.getMonth() + 1)}-${pad(at.getDate())}` : clock(at);
  }
}

localise(document);
for (const each of document.querySelectorAll("[data-zone]")) {
  each.textContent = each.dataset.zone.replace("{zone}", Intl.DateTimeFormat().resolvedOptions().timeZone);
}
