// Areas: what of each camera's picture is judged and what is ignored, shown on every picture and drawn by mouse.

import { Editor, areaOf, areasOf, hint, pointsOf } from "./draw.js";

const LETTERS = 32; // of an area's name, as many heights as a picture is wide
const KINDS = { judge: "judged", ignore: "ignored" };
const $ = (id) => document.getElementById(id);

let cameras = []; // as the state has them
let known = null; // what /api/areas says
const editor = new Editor($("area-svg"), () => { $("area-answer").textContent = ""; });

/** Draw the areas in force over a camera's picture. */
export function outline(svg, { size, areas }) {
  const text = JSON.stringify([size, areas]);
  if (svg.dataset.shown === text || !size) return;
  svg.dataset.shown = text;
  svg.setAttribute("viewBox", `0 0 ${size[0]} ${size[1]}`);
  svg.replaceChildren(...areasOf(areas).flatMap((one) => hint(one, size[0] / LETTERS)));
}

export function offerAreas(shown) {
  cameras = shown;
}

async function open() {
  known = await (await fetch("/api/areas", { cache: "no-store" })).json();
  options("area-camera", cameras.map((camera) => [camera.name, camera.name || "camera"]));
  options("area-recipe", [["0", "the station’s own"], ...known.recipes.map((number) => [String(number), String(number)])]);
  $("area-recipes").hidden = !known.recipes.length;
  $("area-answer").textContent = "";
  $("area-dialog").showModal();
  await load();
}

function options(id, values) {
  const select = $(id), chosen = select.value;
  select.replaceChildren(...values.map(([value, text]) => new Option(text, value)));
  if (values.some(([value]) => value === chosen)) select.value = chosen;
}

async function load() {
  const name = $("area-camera").value, mine = known.areas[$("area-recipe").value]?.[name];
  const painted = ["judge", "ignore"].flatMap((kind) => mine?.fixed[kind] ?? []).filter((area) => !pointsOf(area));
  const named = areasOf({ named: cameras.find((camera) => camera.name === name)?.areas?.named });
  $("area-hint").textContent = ["Green: only what lies in these is judged. Yellow: ignored.",
    known.persisted ? "Saved to the station’s file; what was there is kept beside it." : "Until the line is started again: its areas are not in a file.",
    named.length ? `Blue, by rules of their own in the station’s file: ${[...new Set(named.map((one) => `${one.name} (${one.rules})`))].join(", ")}.` : "",
    painted.length ? `Also ${painted.join(", ")}, painted.` : ""].join(" ");
  const answer = await fetch(`/api/picture?camera=${encodeURIComponent(name)}&after=0&heatmap=0`);
  if (answer.status === 200) {
    const old = $("area-image").src;
    $("area-image").src = URL.createObjectURL(await answer.blob());
    await $("area-image").decode().catch(() => {});
    if (old) URL.revokeObjectURL(old);
  }
  const [width, height] = size();
  editor.show(width, height, areasOf(mine), [...areasOf(mine?.fixed), ...named]);
  choose("ignore");
}

const size = () => cameras.find((camera) => camera.name === $("area-camera").value)?.size ?? [$("area-image").naturalWidth, $("area-image").naturalHeight];

function choose(kind) {
  editor.kind = KINDS[kind];
  for (const name of Object.keys(KINDS)) $(`area-${name}`).setAttribute("aria-pressed", String(name === kind));
}

function polygon(on) {
  $("area-polygon").setAttribute("aria-pressed", String(on));
  on ? editor.startPolygon() : editor.close();
}

async function save() {
  const of = (kind) => editor.regions.filter((region) => region.kind === KINDS[kind]).map((region) => areaOf(region.points));
  const body = { camera: $("area-camera").value, recipe: Number($("area-recipe").value), judge: of("judge"), ignore: of("ignore"), size: size() };
  try {
    const answer = await fetch("/api/areas", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal: AbortSignal.timeout(15000),
    });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error);
    known = told;
    $("area-answer").textContent = told.persisted ? "in force, and saved" : "in force until the line is started again";
  } catch (error) {
    $("area-answer").textContent = `nothing is changed: ${error.message}`;
  }
}

$("areas").addEventListener("click", () => open().catch((error) => { $("area-answer").textContent = error.message; }));
for (const id of ["area-camera", "area-recipe"]) $(id).addEventListener("change", load);
for (const name of Object.keys(KINDS)) $(`area-${name}`).addEventListener("click", () => choose(name));
$("area-polygon").addEventListener("click", () => polygon($("area-polygon").getAttribute("aria-pressed") !== "true"));
$("area-remove").addEventListener("click", () => editor.remove());
$("area-save").addEventListener("click", save);
$("area-dialog").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && editor.drawing) { polygon(false); event.preventDefault(); }
  if (event.key === "Escape" && editor.drawing) { editor.stopPolygon(); $("area-polygon").setAttribute("aria-pressed", "false"); event.preventDefault(); }
  if (event.key === "Delete" && editor.selected >= 0) editor.remove();
});
