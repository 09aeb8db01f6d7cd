// The review page. One event at a time: look, press a key, look at the next. What is labeled stays in the list until it
// is asked for anew, so that nothing moves under the hand.

import { Editor, areasOf } from "./draw.js";
import "./theme.js";

const PAGE = 60; // events of one answer
const AHEAD = 4; // pictures fetched before they are looked at
const VERDICTS = { OK: "OK", NG: "NG", REVIEW: "REVIEW", INVALID: "INVALID", LATE: "LATE" };
const SIGNS = { good: "✓", defect: "✕", unsure: "?", disagree: "≠" };
const TONES = { good: "OK", defect: "NG", unsure: "REVIEW", disagree: "INVALID" };

const $ = (id) => document.getElementById(id);
const when = (seconds) => new Date(seconds * 1000).toLocaleString("en-GB");
const url = (event, kind) => `/api/review/picture?id=${encodeURIComponent(event)}&kind=${kind}`;

let events = []; // what is listed, as far as it was asked for
let total = 0;
let at = 0; // place of the event that is looked at
let current = null; // all that is known of it
let kinds = []; // of defects, the most usual first
let asking = 0; // number of the newest search: answers to older ones come too late
let busy = Promise.resolve(); // labels are sent one after the other
const pictures = new Map(); // url -> promise of an object URL

const editor = new Editor($("regions"), () => { $("clear").disabled = editor.selected < 0; });

// ---- the server ----

async function ask(path, body) {
  const posted = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(15000), ...posted });
  if (answer.status === 401) return location.assign("/login");
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error);
  return told;
}

function picture(event, kind) {
  const key = url(event, kind);
  if (!pictures.has(key)) {
    pictures.set(key, fetch(key).then(async (answer) => {
      if (!answer.ok) throw new Error((await answer.json()).error);
      return URL.createObjectURL(await answer.blob());
    }));
    if (pictures.size > 24) forget(pictures.keys().next().value);
  }
  return pictures.get(key);
}

function forget(key) {
  pictures.get(key).then((made) => URL.revokeObjectURL(made), () => {});
  pictures.delete(key);
}

// ---- search ----

function query(offset) {
  const given = new URLSearchParams({ person: person(), limit: PAGE, offset });
  for (const [name, value] of new FormData($("query"))) {
    if (name === "camera") value === "*" || given.set(name, value.slice(1));
    else if (value === "") continue;
    else if (name === "since" || name === "until") given.set(name, new Date(value).getTime() / 1000);
    else given.set(name, value);
  }
  return given;
}

/** What is asked for, in words. */
function asked() {
  const words = [];
  for (const field of $("query").elements) {
    if (!field.name || field.value === "" || field.value === "*") continue;
    const name = field.closest("label").firstChild.textContent.trim().toLowerCase();
    if (field.name === "labeled" || field.name === "order") words.push(field.selectedOptions[0].text);
    else words.push(`${name} ${field.tagName === "SELECT" ? field.selectedOptions[0].text : field.value.replace("T", " ")}`);
  }
  return words.join(", ");
}

async function search() {
  const mine = ++asking;
  $("asked").textContent = asked();
  try {
    const found = await ask(`/api/review/events?${query(0)}`);
    if (mine !== asking) return;
    events = found.events;
    total = found.total;
    at = 0;
    $("events").replaceChildren();
    count(found.reading);
    await open(0);
  } catch (error) {
    say(error.message);
  }
}

/** The next events. Those that were labeled meanwhile may no longer be among what is asked for. */
async function more() {
  if (events.length >= total) return;
  const mine = asking, labeled = $("query").elements.labeled.value;
  const gone = ["open", "mine-open"].includes(labeled) ? events.filter((one) => one.mine || one.decision).length : 0;
  const found = await ask(`/api/review/events?${query(events.length - gone)}`);
  if (mine !== asking) return;
  const there = new Set(events.map((one) => one.id));
  events.push(...found.events.filter((one) => !there.has(one.id)));
  total = Math.max(events.length, found.total + gone);
  list();
}

async function ends() {
  const found = await ask("/api/review/facets");
  fill("camera", Object.keys(found.cameras).map((name) => [`=${name}`, name || "camera"]), [["*", "all"]]);
  fill("verdict", Object.keys(found.verdicts).map((name) => [name, name]), [["", "all"]]);
  fill("kind", Object.keys(found.kinds).map((name) => [name, name]), [["", "all"]]);
  kinds = [...new Set([...Object.keys(found.kinds), ...kinds])];
  showKinds();
}

function fill(name, values, first) {
  const select = $("query").elements[name], chosen = select.value;
  select.replaceChildren(...[...first, ...values].map(([value, text]) => new Option(text, value)));
  select.value = chosen;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}

let later = 0; // the timer of the next look

function count(reading) {
  const done = events.filter((one) => one.mine).length;
  const words = [`${total.toLocaleString("en")} ${total === 1 ? "event" : "events"}`];
  if (done) words.push(`${done.toLocaleString("en")} labeled now`);
  const growing = reading !== null && reading !== undefined;
  if (growing) words.push("still reading the folder");
  $("found").textContent = words.join("  ·  ");
  clearTimeout(later);
  if (growing || !total) later = setTimeout(again, growing ? 1000 : 3000);
}

/** While the folder is still being read, what is found grows; where there is nothing, something may come. */
async function again() {
  if (events.length && (at > 0 || events.some((one) => one.mine))) return;
  await search();
  await ends();
}

// ---- the list ----

function list() {
  const box = $("events");
  const items = new Map([...box.children].map((item) => [item.dataset.id, item]));
  const near = events.map((one, place) => [one, place]).slice(Math.max(0, at - 60), at + 120);
  box.replaceChildren(...near.map(([one, place]) => shown(items.get(one.id) ?? item(one), one, place)));
  mark();
}

function item(one) {
  const made = $("event").content.firstElementChild.cloneNode(true);
  made.dataset.id = one.id;
  const image = made.querySelector("img");
  image.loading = "lazy";
  image.src = url(one.id, "thumb");
  image.alt = `${one.verdict} at ${when(one.time)}`;
  return made;
}

function shown(made, one, place) {
  const button = made.querySelector("button"), chip = made.querySelector(".chip");
  button.onclick = () => open(place);
  chip.dataset.verdict = one.verdict in VERDICTS ? one.verdict : "";
  chip.textContent = one.verdict;
  made.querySelector("b").textContent = one.score === null ? "" : one.score.toFixed(2);
  made.querySelector("i").textContent = one.mine ? SIGNS[one.mine] : "";
  return made;
}

function mark() {
  for (const made of $("events").children) {
    const here = made.dataset.id === events[at]?.id;
    made.querySelector("button").setAttribute("aria-current", String(here));
    if (here) made.scrollIntoView({ block: "nearest", inline: "center" });
  }
  $("before").disabled = at <= 0;
  $("after").disabled = at >= events.length - 1;
}

// ---- one event ----

async function open(place) {
  at = Math.max(0, Math.min(place, events.length - 1));
  const one = events[at];
  current = null; // until it is seen, no key labels it
  $("picture").ariaBusy = "true";
  $("nothing").hidden = Boolean(one);
  for (const id of ["good", "defect", "unsure"]) $(id).disabled = !one;
  if (!one) return empty();
  const answers = Promise.all([
    ask(`/api/review/event?id=${encodeURIComponent(one.id)}&person=${encodeURIComponent(person())}`), picture(one.id, wanted()),
  ]);
  if (place > events.length - 20) more().catch((error) => say(error.message));
  const isFirst = !$("events").children.length; // its picture comes before the list, which takes longer
  if (!isFirst) list();
  editor.stopPolygon();
  $("polygon").setAttribute("aria-pressed", "false");
  try {
    const [told, source] = await answers;
    if (events[at]?.id !== one.id) return; // gone on meanwhile
    current = told;
    $("image").src = source;
    await $("image").decode().catch(() => {});
    $("image").alt = `Frame judged ${one.verdict}`;
    showEvent();
  } catch (error) {
    say(error.message);
  }
  if (isFirst) list();
  for (const next of events.slice(at + 1, at + 1 + AHEAD)) picture(next.id, wanted()).catch(() => {});
}

function empty() {
  current = null;
  $("image").removeAttribute("src");
  $("about").replaceChildren();
  $("labels").replaceChildren();
  $("events").replaceChildren();
  editor.show(1, 1, []);
  $("nothing").textContent = total ? "" : "nothing here is left to review";
}

const wanted = () => ($("heatmap").getAttribute("aria-pressed") === "true" ? "heatmap" : "frame");

function showEvent() {
  $("picture").ariaBusy = "false";
  const { result, labels, hidden } = current, mine = labels[person()];
  const image = $("image"), [height, width] = result.frame_size ?? [image.naturalHeight, image.naturalWidth];
  const hints = (result.regions ?? []).map((one) => ({ points: edges(one) }));
  editor.show(width, height, (mine?.regions ?? []).map((points) => ({ points, kind: "" })), [...areasOf(result.areas), ...hints]);
  for (const id of ["good", "defect", "unsure"]) $(id).setAttribute("aria-pressed", String(mine?.label === id));
  $("take").disabled = !hints.length;
  $("clear").disabled = true;
  about(result);
  const rows = Object.entries(labels).map(([name, label]) => {
    const row = document.createElement("li");
    row.append(bold(name), chipOf(label.label), span([label.kind, label.regions?.length && `${label.regions.length} drawn`,
      new Date(label.when).toLocaleString("en-GB")].filter(Boolean).join("  ·  ")));
    return row;
  });
  if (hidden) rows.push(span(`${hidden} said by others, shown once you have said yours`));
  $("labels").replaceChildren(...rows);
  showKinds(mine?.kind);
}

function edges({ x, y, width, height }) {
  return [[x, y], [x + width - 1, y], [x + width - 1, y + height - 1], [x, y + height - 1]];
}

function about(result) {
  const chip = chipOf(result.verdict);
  chip.dataset.verdict = result.verdict;
  const score = Number.isFinite(result.score) ? result.score.toFixed(2) : "no score";
  const words = [result.camera, `frame ${result.index}`, result.time ? when(result.time) : "", result.kept_for,
    ...(result.reasons ?? [])].filter(Boolean);
  $("about").replaceChildren(chip, bold(score), ...words.map(span));
}

function bold(text) {
  const made = document.createElement("b");
  made.textContent = text;
  return made;
}

function span(text) {
  const made = document.createElement("span");
  made.textContent = text;
  return made;
}

function chipOf(text) {
  const made = span(text);
  made.className = "chip";
  made.dataset.verdict = TONES[text] ?? "";
  return made;
}

// ---- labels ----

const person = () => $("person").value.trim();

function label(name, kind = "") {
  if (!current || !events[at]) return;
  if (!person()) {
    say("who are you? write your name first");
    return $("person").focus();
  }
  const event = current.id, one = events[at];
  const regions = name === "defect" ? editor.regions.map((region) => region.points) : [];
  const said = { label: name, kind: name === "defect" ? kind : "", regions };
  if (kind && !kinds.includes(kind)) kinds.push(kind);
  one.mine = name;
  busy = busy.then(async () => {
    try {
      const told = await ask("/api/review/label", { event, person: person(), label: said });
      Object.assign(one, told.entry ?? {});
      say(`${name}${kind ? `, ${kind}` : ""}${regions.length ? `, ${regions.length} drawn` : ""}`);
    } catch (error) {
      delete one.mine;
      say(`not saved: ${error.message}`);
      open(events.indexOf(one));
    }
    count();
  });
  if (at < events.length - 1) open(at + 1);
  else busy.then(() => open(at));
}

function undo() {
  busy = busy.then(async () => {
    try {
      const told = await ask("/api/review/undo", { person: person() });
      if (!told.event) return say("nothing is left to take back");
      let place = events.findIndex((one) => one.id === told.event);
      if (place < 0 && told.entry) {
        events.splice(at, 0, told.entry);
        total += 1;
        place = at;
      }
      if (place >= 0) {
        Object.assign(events[place], told.entry ?? {});
        delete events[place].mine;
        await open(place);
      }
      say("taken back");
      count();
    } catch (error) {
      say(`not taken back: ${error.message}`);
    }
  });
}

function say(text) {
  $("said").textContent = text;
}

function showKinds(chosen = "") {
  $("kinds").replaceChildren(...kinds.slice(0, 9).map((kind, index) => {
    const item = document.createElement("li"), button = document.createElement("button"), key = document.createElement("kbd");
    key.textContent = String(index + 1);
    button.type = "button";
    button.append(key, kind);
    button.setAttribute("aria-pressed", String(kind === chosen));
    button.setAttribute("aria-keyshortcuts", String(index + 1));
    button.onclick = () => label("defect", kind);
    item.append(button);
    return item;
  }));
}

// ---- hands ----

const press = (button) => button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
const KEYS = {
  g: () => label("good"), d: () => label("defect"), u: () => label("unsure"), z: undo, h: () => $("heatmap").click(),
  p: () => $("polygon").click(), a: () => $("take").click(), ArrowLeft: () => open(at - 1), ArrowRight: () => open(at + 1),
  Delete: () => editor.remove(), Enter: () => editor.close(), Escape: () => { editor.stopPolygon(); $("polygon").setAttribute("aria-pressed", "false"); },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, summary")) return;
  if (event.key === "Enter" && event.target.closest("button")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const act = KEYS[key] ?? (kinds[Number(key) - 1] && /^[1-9]$/.test(key) ? () => label("defect", kinds[Number(key) - 1]) : null);
  if (!act || (event.repeat && !key.startsWith("Arrow"))) return;
  event.preventDefault();
  act();
});
for (const name of ["good", "defect", "unsure"]) $(name).addEventListener("click", () => label(name));
$("undo").addEventListener("click", undo);
$("before").addEventListener("click", () => open(at - 1));
$("after").addEventListener("click", () => open(at + 1));
$("heatmap").addEventListener("click", async () => {
  press($("heatmap"));
  if (events[at]) $("image").src = await picture(events[at].id, wanted());
});
$("polygon").addEventListener("click", () => {
  press($("polygon"));
  $("polygon").getAttribute("aria-pressed") === "true" ? editor.startPolygon() : editor.close();
});
$("take").addEventListener("click", () => {
  for (const one of current?.result.regions ?? []) editor.add(edges(one), "");
});
$("clear").addEventListener("click", () => editor.remove());
$("add").addEventListener("submit", (event) => {
  event.preventDefault();
  const kind = $("kind").value.trim();
  if (kind && !kinds.includes(kind)) kinds.push(kind);
  $("kind").value = "";
  $("kind").blur();
  showKinds();
});
$("query").addEventListener("change", search);
$("query").addEventListener("submit", (event) => { event.preventDefault(); search(); });
$("query").addEventListener("reset", () => setTimeout(search));
$("person").value = localStorage.getItem("person") ?? "";
$("person").addEventListener("change", () => {
  localStorage.setItem("person", person());
  $("person").blur();
  search();
});
$("filters").open = matchMedia("(min-width: 1600px)").matches;
search().then(ends).catch((error) => say(error.message)); // what can be asked for comes after the first picture
