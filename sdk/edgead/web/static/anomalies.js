// The last anomalies: a row of small pictures, and one of them large, with its name, to download and to label.

import { $, clock, make, marked } from "./page.js";

let state = { anomalies: [], run: "", review: false };
let opened = null; // number of the anomaly in the dialog

export function showAnomalies(news) {
  state = news;
  const list = $("anomalies"), there = [...list.children].map((item) => item.dataset.number).join();
  if (there === state.anomalies.map((anomaly) => String(anomaly.number)).join()) return;
  const old = new Map([...list.children].map((item) => [item.dataset.number, item]));
  list.replaceChildren(...state.anomalies.map((anomaly) => old.get(String(anomaly.number)) ?? item(anomaly)));
}

function item(anomaly) {
  const entry = $("anomaly").content.firstElementChild.cloneNode(true);
  entry.dataset.number = anomaly.number;
  const picture = entry.querySelector("img");
  picture.src = `/api/anomaly/${anomaly.number}?thumb&run=${state.run}`;
  picture.alt = `${anomaly.verdict} at ${clock(anomaly.time)}`;
  const chip = entry.querySelector(".chip");
  chip.dataset.verdict = anomaly.verdict;
  chip.textContent = anomaly.verdict;
  entry.querySelector("b").textContent = anomaly.score === null ? "" : anomaly.score.toFixed(2);
  entry.querySelector("time").textContent = clock(anomaly.time);
  entry.querySelector("button").addEventListener("click", () => open(anomaly.number));
  return entry;
}

function open(number) {
  const anomaly = state.anomalies.find((one) => one.number === number);
  if (!anomaly) return;
  opened = number;
  const dialog = $("closer"), caption = dialog.querySelector("figcaption"), chip = marked("span", anomaly.verdict);
  chip.className = "chip";
  chip.textContent = anomaly.verdict;
  const source = `/api/anomaly/${number}?run=${state.run}`, name = anomaly.name.split("/").pop();
  dialog.querySelector("img").src = source;
  const about = [anomaly.camera, name, `frame ${anomaly.index}`, clock(anomaly.time), ...anomaly.reasons].filter(Boolean);
  caption.replaceChildren(chip, make("b", anomaly.score?.toFixed(2) ?? ""), make("span", about.join("  ·  ")));
  const file = `${name.replace(/\.\w+$/, "") || `frame ${anomaly.index}`}_${anomaly.verdict}_${anomaly.score?.toFixed(2) ?? ""}.jpg`;
  $("download").href = source;
  $("download").download = file.replace(/[^\p{L}\p{N}._-]+/gu, "_");
  $("label").hidden = !(state.review && anomaly.event);
  $("label-hint").hidden = state.review;
  $("label-answer").textContent = "";
  mark(null);
  if (!dialog.open) dialog.showModal();
}

function turn(by) {
  const place = state.anomalies.findIndex((anomaly) => anomaly.number === opened);
  const next = state.anomalies[place + by];
  if (place >= 0 && next) open(next.number);
}

// ---- labels, kept with the event that `keep` has saved ----

function mark(label) {
  for (const button of $("label").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.value === label));
  }
}

async function label(word) {
  const anomaly = state.anomalies.find((one) => one.number === opened), person = $("label-person").value.trim();
  if (!anomaly) return;
  if (!person) {
    $("label-answer").textContent = "say who labels";
    return $("label-person").focus();
  }
  try {
    const answer = await fetch("/api/review/label", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ event: anomaly.event, person, label: { label: word } }),
      signal: AbortSignal.timeout(5000),
    });
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.error);
    mark(word);
    $("label-answer").textContent = `noted as ${word}`;
  } catch (error) {
    $("label-answer").textContent = `not noted: ${error.message}`;
  }
}

$("older").addEventListener("click", () => turn(1));
$("newer").addEventListener("click", () => turn(-1));
$("closer").addEventListener("keydown", (event) => {
  if (event.target.tagName === "INPUT") return;
  if (event.key === "ArrowLeft") turn(1);
  if (event.key === "ArrowRight") turn(-1);
});
$("label-person").value = localStorage.getItem("person") ?? "";
$("label-person").addEventListener("change", (event) => localStorage.setItem("person", event.target.value.trim()));
for (const button of $("label").querySelectorAll("button")) button.addEventListener("click", () => label(button.value));
