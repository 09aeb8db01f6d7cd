// The live page. Two kinds of question to the server, each answered as soon as there is something newer:
// /api/state for everything in numbers, /api/picture for each camera's picture. A page that hears nothing says so.

import { showAnomalies } from "./anomalies.js";
import { outline, offerAreas } from "./areas.js";
import { showShadow } from "./bundle.js";
import { showHandshake } from "./parts.js";
import { drawHistory, height } from "./chart.js";
import { $, clock, make, marked } from "./page.js";
import "./theme.js";

const SIGNS = { OK: "✓", NG: "✕", REVIEW: "?", INVALID: "–", LATE: "◷" };
const SEVERITY = ["OK", "LATE", "INVALID", "REVIEW", "NG"];
const HOLD = { NG: 1500, REVIEW: 1000, INVALID: 1000, LATE: 500, OK: 0 }; // ms that a verdict stays to be read
const STILLS = ["NG", "REVIEW"]; // while such a verdict is shown, so is its picture: what is read is what is seen
const HISTORY = 600; // results in the history
const SILENCE = 3000; // ms without an answer: no contact
const QUIET = 10; // seconds without a result: waiting
const DIRECT = 4; // cameras that may each have a question open; a browser has six connections

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const ask = (url, ms = 9000) => fetch(url, { signal: AbortSignal.timeout(ms), cache: "no-store" });

const tiles = new Map(); // camera's name -> what is known of it
let state = null;
let chosen = null; // name of the camera in the verdict panel
let heard = performance.now();
let pending = null; // threshold on the slider that is not applied yet

// ---- state ----

async function listen() {
  for (;;) {
    try {
      const answer = await ask(`/api/state?after=${state?.number ?? 0}&run=${state?.run ?? ""}`);
      if (answer.status === 401) return location.assign("/login");
      if (!answer.ok) throw new Error(answer.statusText);
      const news = await answer.json();
      if (state && news.run !== state.run) tiles.forEach(restart);
      heard = performance.now();
      state = news;
      show();
    } catch {
      await sleep(800);
    }
    await sleep(150);
  }
}

function restart(tile) {
  tile.points = [];
  tile.after = 0;
}

function show() {
  for (const camera of state.cameras) {
    const tile = tiles.get(camera.name) ?? addTile(camera.name);
    tile.camera = camera;
    outline(tile.figure.querySelector(".areas"), camera);
    tile.points = tile.points.concat(camera.history).slice(-HISTORY);
    judge(tile, camera.history);
  }
  chosen ??= state.cameras[0]?.name ?? null;
  document.title = `${state.station} – edgead`;
  $("station").textContent = state.station;
  $("review").hidden = !state.review;
  showFacts();
  showCounts();
  showSpeed();
  showHealth();
  showThreshold();
  showAnomalies(state);
  showShadow(state.shadow);
  offerAreas(state.cameras);
  showHandshake(state.handshake, state.triggers);
}

/** The severest of the new results is shown, and stays long enough to be read. */
function judge(tile, points) {
  const now = performance.now();
  const severest = points.reduce((worst, point) => (worst && rank(worst[3]) >= rank(point[3]) ? worst : point), null);
  if (severest && (now > tile.until || rank(severest[3]) >= rank(tile.verdict))) {
    tile.verdict = severest[3];
    tile.score = severest[2];
    tile.reasons = tile.camera.verdict === severest[3] ? tile.camera.reasons : [];
    tile.until = now + HOLD[severest[3]];
    tile.still = severest[0];
  }
}

const rank = (verdict) => SEVERITY.indexOf(verdict);

function showFacts() {
  const { line } = state;
  const up = line.uptime ? `up ${span(line.uptime)}` : "";
  const parts = [line.engine, line.precision, line.model && `model ${line.model}`, up];
  for (const [key, word] of [["dropped", "overtaken"], ["unreadable", "unreadable"], ["reconnects", "reconnected"]]) {
    if (line[key]) parts.push(`${line[key].toLocaleString("en")} ${word}`);
  }
  $("facts").textContent = parts.filter(Boolean).join("  ·  ");
}

function span(seconds) {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  return days ? `${days} d ${hours} h` : hours ? `${hours} h ${minutes} min` : `${minutes} min`;
}

function showCounts() {
  const { counts } = state;
  const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
  $("judged").textContent = all.toLocaleString("en");
  const shown = SEVERITY.filter((verdict) => counts[verdict] || verdict === "OK" || verdict === "NG");
  shown.sort((a, b) => (a === "OK" ? -1 : b === "OK" ? 1 : rank(b) - rank(a)));
  $("counts").replaceChildren(...shown.map((verdict) => {
    const row = marked("div", verdict), count = counts[verdict] ?? 0;
    const number = make("dd", count.toLocaleString("en"));
    number.append(make("small", all ? `${(100 * count / all).toFixed(count / all < 0.1 ? 2 : 1)} %` : "–"));
    row.append(make("dt", verdict), number);
    return row;
  }));
  $("shares").replaceChildren(...shown.filter((verdict) => counts[verdict]).map((verdict) => {
    const bar = marked("i", verdict);
    bar.style.flexGrow = counts[verdict];
    return bar;
  }));
}

function showSpeed() {
  for (const [row, values] of [["age", state.age_ms], ["latency", state.latency_ms]]) {
    ["p50", "p95", "p99"].forEach((name, column) => {
      const value = values[name];
      $(row).cells[column + 1].textContent = value === undefined ? "–" : value.toFixed(value < 100 ? 1 : 0);
    });
    $(row).hidden = row === "age" && values.p50 === undefined;
  }
}

function showHealth() {
  const rows = state.cameras.map((camera) => {
    const bad = camera.state === "lost";
    const row = make("li", camera.name || "camera");
    row.classList.toggle("bad", bad);
    row.classList.toggle("ended", camera.state === "ended");
    row.append(make("span", bad ? `lost since ${clock(camera.since)}` : camera.state));
    if (bad && camera.error) row.append(make("em", camera.error));
    if (camera.drift) {
      row.classList.add("bad");
      row.append(make("em", camera.drift));
    }
    return row;
  });
  if (state.line.fault) {
    const row = make("li", "the bundle was not changed");
    row.classList.add("bad");
    row.append(make("em", state.line.fault));
    rows.push(row);
  }
  for (const [sink, count] of Object.entries(state.line.unwritten ?? {})) {
    if (!count) continue;
    const row = make("li", sink);
    row.classList.add("bad");
    row.append(make("span", `${count.toLocaleString("en")} results not taken`));
    rows.push(row);
  }
  $("health").replaceChildren(...rows);
}

// ---- what changes while nothing new comes: contact, waiting, clock ----

function beat() {
  $("clock").textContent = new Date().toLocaleTimeString("en-GB");
  const silent = performance.now() - heard > SILENCE;
  const lamp = $("lamp"), trouble = silent ? "no contact with the line" : state?.trouble;
  lamp.classList.toggle("trouble", Boolean(trouble));
  lamp.textContent = trouble || (state ? `judging ${state.fps.toFixed(1)} frames a second` : "connecting");
  tiles.forEach((tile) => showTile(tile, silent));
  showVerdict(tiles.get(chosen), silent);
  const tile = tiles.get(chosen);
  const count = tile?.points.length ?? 0;
  $("history-of").textContent = count ? `${tiles.size > 1 ? `${tile.name}, ` : ""}last ${count} results` : "";
  drawHistory($("chart"), tile?.points ?? [], HISTORY, state?.threshold ?? 1, pending);
}

/** The word to show for a camera, and what is amiss. Never a verdict that is no longer true. */
function standing(tile, silent) {
  if (silent) return ["", "NO CONTACT"];
  if (!tile || !tile.verdict) return ["", "WAITING"];
  if (tile.camera.state === "lost") return ["", "NO PICTURE"];
  if (tile.camera.state === "ended" && performance.now() > tile.until) return ["", "ENDED"];
  if (tile.camera.quiet > QUIET) return ["", "WAITING"];
  return [tile.verdict, tile.verdict];
}

function showVerdict(tile, silent) {
  const panel = $("verdict"), [verdict, word] = standing(tile, silent);
  const threshold = state?.threshold ?? 1;
  panel.dataset.verdict = verdict;
  const text = panel.querySelector(".word");
  text.textContent = word;
  text.className = `word ${word.length > 8 ? "longer" : word.length > 3 ? "long" : ""}`;
  const known = verdict !== "" && tile.score !== null;
  panel.querySelector(".which").textContent = tile && tiles.size > 1 ? tile.name : "";
  panel.querySelector(".score b").textContent = known ? tile.score.toFixed(2) : "";
  panel.querySelector(".score span").textContent = known ? `score, threshold ${threshold.toFixed(2)}` : "";
  const part = known ? height(tile.score / threshold, 20) : 0;
  panel.querySelector(".gauge").style.setProperty("--at", `${100 * part}%`);
  panel.querySelector(".gauge").hidden = !known;
  const last = tile?.points.at(-1);
  const idle = verdict === "" && last ? `last result ${last[3]} at ${clock(last[1])}` : "";
  panel.querySelector(".why").textContent = verdict === "" ? idle : tile.reasons.join(", ");
}

function showTile(tile, silent) {
  const [verdict, word] = standing(tile, silent), lost = silent || tile.camera.state === "lost";
  tile.figure.dataset.verdict = verdict;
  tile.figure.classList.toggle("lost", lost);
  tile.figure.classList.toggle("chosen", tile.name === chosen);
  tile.figure.querySelector(".chip").textContent = verdict ? `${SIGNS[verdict]} ${word}` : word.toLowerCase();
  tile.figure.querySelector(".name").textContent = tile.name || "camera";
  tile.figure.querySelector(".size").textContent = tile.camera.size ? tile.camera.size.join(" × ") : "";
  const nothing = tile.figure.querySelector(".nothing");
  nothing.hidden = !lost && tile.after > 0;
  nothing.textContent = silent ? "no contact" : lost ? `lost since ${clock(tile.camera.since)}` : "no picture yet";
}

// ---- pictures ----

function addTile(name) {
  const figure = $("camera").content.firstElementChild.cloneNode(true);
  const tile = { name, figure, camera: {}, points: [], after: 0, heatmap: true, verdict: "", score: null, reasons: [], until: 0, still: 0 };
  const choose = () => { chosen = name; beat(); };
  figure.addEventListener("click", choose);
  figure.addEventListener("keydown", (event) => event.key === "Enter" && choose());
  tiles.set(name, tile);
  $("cameras").append(figure);
  $("cameras").dataset.many = [1, 2, 4, 9].find((most) => tiles.size <= most) ?? 9;
  watch(tile);
  return tile;
}

async function watch(tile) {
  for (let shown = 0; ; ) {
    const heatmap = $("heatmap").getAttribute("aria-pressed") === "true";
    const held = heatmap && STILLS.includes(tile.verdict);
    const idle = tiles.size > DIRECT && (tile.camera.number ?? 0) <= tile.after && heatmap === tile.heatmap;
    if (document.hidden || idle || (held && shown === tile.still)) {
      await sleep(100);
      continue;
    }
    const after = heatmap === tile.heatmap ? tile.after : 0;
    const live = `/api/picture?camera=${encodeURIComponent(tile.name)}&after=${after}&heatmap=${heatmap ? 1 : 0}`;
    const still = held && state.anomalies.some((anomaly) => anomaly.number === tile.still);
    shown = tile.still;
    try {
      const answer = await ask(still ? `/api/anomaly/${tile.still}` : live);
      if (answer.status !== 200) {
        await sleep(answer.status === 204 ? 0 : 1000);
        continue;
      }
      await put(tile.figure.querySelector("img"), await answer.blob());
      tile.after = Number(answer.headers.get("X-Number") ?? tile.after);
      if (!tile.figure.classList.contains("lost")) tile.figure.querySelector(".nothing").hidden = true; // before the next beat
      tile.heatmap = heatmap;
    } catch {
      await sleep(1000);
    }
  }
}

async function put(picture, data) {
  const old = picture.src;
  picture.src = URL.createObjectURL(data);
  await picture.decode().catch(() => {});
  if (old) URL.revokeObjectURL(old);
}

// ---- threshold ----

function showThreshold() {
  const slider = $("slider");
  slider.disabled = !state.can_set;
  if (pending === null) slider.value = state.threshold;
  showFactor();
}

function showFactor() {
  const value = pending ?? state.threshold, same = Math.abs(value - state.threshold) < 0.005;
  $("factor").textContent = `× ${value.toFixed(2)}`;
  $("apply").disabled = same;
  $("reset").disabled = pending === null;
}

async function apply() {
  const factor = pending;
  $("answer").textContent = "";
  try {
    const answer = await fetch("/api/threshold", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ factor }),
      signal: AbortSignal.timeout(5000),
    });
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.error);
    state.threshold = said.threshold;
    pending = null;
    $("answer").textContent = `${said.threshold.toFixed(2)} since ${clock(Date.now() / 1000)}`;
  } catch (error) {
    $("answer").textContent = `not set: ${error.message}`;
  }
  showThreshold();
}

$("heatmap").addEventListener("click", (event) => {
  const button = event.currentTarget;
  button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
});
$("slider").addEventListener("input", (event) => { pending = Number(event.target.value); showFactor(); });
$("apply").addEventListener("click", apply);
$("reset").addEventListener("click", () => { pending = null; showThreshold(); });
setInterval(beat, 200);
beat();
listen();
