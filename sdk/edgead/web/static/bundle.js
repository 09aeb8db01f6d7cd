// The bundles of the line: how the shadow compares, what they disagree on, and the two buttons that change which judges.

const $ = (id) => document.getElementById(id);
const WORDS = { promote: ["Promote the shadow", "Promote it now?"], rollback: ["Roll back", "Roll back now?"] };
const PATIENCE = 4000; // ms in which a second press means it
let armed = null; // {what, timer}

/** Show what the state says of the shadow. */
export function showShadow(shadow) {
  const line = $("shadow-line");
  $("bundles").hidden = false;
  if (!shadow) {
    line.textContent = "No shadow: `shadow: new.edgead` in station.yaml lets another bundle judge beside this one.";
    return;
  }
  const parts = [shadow.bundle];
  if (shadow.fault) parts.push(shadow.fault);
  else if (shadow.waiting) parts.push("is being loaded");
  if (shadow.judged) {
    parts.push(`agrees on ${(100 * shadow.agreed / shadow.judged).toFixed(2)} % of ${shadow.judged.toLocaleString("en")} frames`);
    const { p50, p99 } = shadow.latency_ms ?? {};
    if (p50) parts.push(`${p50.toFixed(1)} ms (99 % within ${p99.toFixed(1)})`);
    parts.push(`${shadow.skipped.toLocaleString("en")} left out`);
  }
  line.textContent = parts.join("  ·  ");
}

async function load() {
  show(await (await fetch("/api/bundle", { cache: "no-store" })).json());
}

function show(told) {
  for (const what of Object.keys(WORDS)) $(what).hidden = !told.possible.includes(what);
  $("changes").replaceChildren(...[...told.history].reverse().map((change) => {
    const row = document.createElement("li"), when = new Date(change.when).toLocaleString("en-GB");
    const verb = change.what === "promote" ? "promoted" : "rolled back to";
    row.textContent = `${when}: ${verb} ${change.new.slice(0, 12)}, was ${change.old.slice(0, 12) || "none"}, by ${change.who}`;
    return row;
  }));
  $("disagreements").replaceChildren(...told.disagreements.map((one) => {
    const row = document.createElement("li");
    row.append(...["line", "shadow"].map((kind) => {
      const figure = document.createElement("figure"), image = document.createElement("img"), words = document.createElement("figcaption");
      image.loading = "lazy";
      image.src = `/api/bundle/picture?id=${encodeURIComponent(one.id)}&kind=${kind}`;
      image.alt = `as the ${kind} sees it`;
      words.textContent = `${kind}: ${one[kind].verdict} ${one[kind].score?.toFixed(2) ?? ""}`;
      figure.append(image, words);
      return figure;
    }));
    return row;
  }));
  $("no-disagreements").hidden = told.disagreements.length > 0;
}

/** The first press asks, the second within four seconds does it. */
async function press(what) {
  if (armed?.what !== what) {
    disarm();
    $(what).textContent = WORDS[what][1];
    armed = { what, timer: setTimeout(disarm, PATIENCE) };
    return;
  }
  disarm();
  $("bundle-answer").textContent = "";
  try {
    const answer = await fetch("/api/bundle", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ what }), signal: AbortSignal.timeout(60000),
    });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error);
    $("bundle-answer").textContent = what === "promote" ? "promoted; the audit log notes it" : "rolled back; the audit log notes it";
    show(told);
  } catch (error) {
    $("bundle-answer").textContent = `nothing is changed: ${error.message}`;
  }
}

function disarm() {
  if (!armed) return;
  clearTimeout(armed.timer);
  $(armed.what).textContent = WORDS[armed.what][0];
  armed = null;
}

for (const what of Object.keys(WORDS)) {
  $(what).textContent = WORDS[what][0];
  $(what).addEventListener("click", () => press(what));
}
$("bundles").addEventListener("click", () => {
  $("bundle-dialog").showModal();
  load().catch((error) => { $("bundle-answer").textContent = error.message; });
});
