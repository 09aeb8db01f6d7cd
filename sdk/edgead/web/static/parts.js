// The handshake with the controller: its lamps, the last parts, and a trigger by hand.

const $ = (id) => document.getElementById(id);
const LAMPS = ["ready", "busy", "done", "reject", "fault"];
let newest = null; // trigger of the part at the top of the table
let beats = null;

/** Show what the state says of the handshake; nothing for a line without triggers. */
export function showHandshake(handshake, counts) {
  $("handshake").hidden = !handshake;
  if (!handshake) return;
  $("lamps").replaceChildren(...LAMPS.map((name) => {
    const lamp = document.createElement("li");
    lamp.textContent = name;
    lamp.dataset.lamp = name;
    lamp.classList.toggle("lit", Boolean(handshake[name]));
    lamp.setAttribute("aria-label", `${name} ${handshake[name] ? "on" : "off"}`);
    return lamp;
  }));
  const heart = document.createElement("li");
  heart.textContent = "heartbeat";
  heart.classList.toggle("lit", beats !== null && beats !== handshake.beats);
  heart.dataset.lamp = "heartbeat";
  $("lamps").append(heart);
  beats = handshake.beats;
  const words = [handshake.why && `fault ${handshake.fault}: ${handshake.why}`, handshake.recipe && `recipe ${handshake.recipe}`];
  if (counts) words.push(`${counts.triggers.toLocaleString("en")} triggers, ${counts.unclaimed.toLocaleString("en")} frames beside them`);
  $("handshake-words").textContent = words.filter(Boolean).join("  ·  ");
  showCycles(handshake.cycles);
}

function showCycles(cycles) {
  const last = cycles.at(-1)?.trigger ?? null;
  if (last === newest) return;
  newest = last;
  $("cycles").replaceChildren(...[...cycles].reverse().map((cycle) => {
    const row = document.createElement("tr");
    row.dataset.verdict = cycle.result;
    const score = cycle.score === null ? "" : cycle.score.toFixed(2);
    for (const text of [cycle.trigger, cycle.part, cycle.result, score, cycle.answer_ms.toFixed(0)]) {
      const cell = document.createElement("td");
      cell.textContent = text;
      row.append(cell);
    }
    return row;
  }));
}

async function fire(event) {
  event.preventDefault();
  $("trigger-answer").textContent = "";
  try {
    const answer = await fetch("/api/trigger", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ part: $("part").value }),
      signal: AbortSignal.timeout(5000),
    });
    if (!answer.ok) throw new Error((await answer.json()).error);
    $("trigger-answer").textContent = "fired";
  } catch (error) {
    $("trigger-answer").textContent = `not fired: ${error.message}`;
  }
}

$("trigger").addEventListener("submit", fire);
