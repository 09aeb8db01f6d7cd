// Regions drawn over a picture: polygons with corners in pixels of the frame, a box being one of four.
// Drag on the picture: a new box. Drag a region or a corner: change it. Corner by corner: a polygon (Enter closes it).
// With the keyboard: Tab to a region, arrows move it (Shift: ten pixels), Delete removes it.

const SVG = "http://www.w3.org/2000/svg";
const HANDLE = 7; // pixels of the screen
const LETTERS = 13; // pixels of the screen: the height of an area's name
const LEAST = 3; // pixels of the frame: a smaller box is a click

export class Editor {
  /** `svg` lies over the picture; `changed` is called after each change by hand. */
  constructor(svg, changed = () => {}) {
    this.svg = svg;
    this.changed = changed;
    this.size = [1, 1];
    this.regions = []; // {points: [[x, y], ...], kind}
    this.hints = []; // the same, only shown
    this.kind = ""; // of what is drawn next
    this.selected = -1;
    this.corners = null; // of the polygon being drawn
    this.drag = null;
    svg.addEventListener("pointerdown", (event) => this.press(event));
    svg.addEventListener("pointermove", (event) => this.move(event));
    svg.addEventListener("pointerup", () => this.release());
    svg.addEventListener("pointercancel", () => this.release());
    svg.addEventListener("dblclick", () => this.close());
    svg.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.render()).observe(svg);
  }

  show(width, height, regions, hints = []) {
    this.size = [width, height];
    this.regions = regions.map((one) => ({ ...one, points: one.points.map((point) => [...point]) }));
    this.hints = hints;
    this.selected = -1;
    this.corners = null;
    this.drag = null;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.render();
  }

  get drawing() {
    return this.corners !== null;
  }

  startPolygon() {
    this.corners = [];
    this.render();
  }

  stopPolygon() {
    this.corners = null;
    this.render();
  }

  close() {
    if (!this.corners) return;
    const points = this.corners;
    this.corners = null;
    if (points.length >= 3) this.add(points);
    else this.render();
  }

  add(points, kind = this.kind) {
    this.regions.push({ points, kind });
    this.selected = this.regions.length - 1;
    this.done();
  }

  remove(index = this.selected) {
    if (index < 0 || index >= this.regions.length) return;
    this.regions.splice(index, 1);
    this.selected = -1;
    this.done();
  }

  done() {
    this.render();
    this.changed();
  }

  at(event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
    const [width, height] = this.size;
    return [Math.round(Math.min(Math.max(point.x, 0), width - 1)), Math.round(Math.min(Math.max(point.y, 0), height - 1))];
  }

  press(event) {
    if (event.button !== 0) return;
    const point = this.at(event);
    if (this.corners) {
      const [first] = this.corners;
      if (this.corners.length >= 3 && near(first, point, 2 * this.handle())) return this.close();
      this.corners.push(point);
      return this.render();
    }
    this.svg.setPointerCapture(event.pointerId);
    const { index, corner } = event.target.dataset;
    const region = index === undefined ? null : this.regions[Number(index)];
    this.selected = region ? Number(index) : -1;
    const kind = !region ? "new" : corner === undefined ? "whole" : "corner";
    this.drag = { kind, from: point, corner: Number(corner), before: region?.points.map((one) => [...one]), moved: false };
    this.render();
  }

  move(event) {
    if (!this.drag) return;
    const { kind, from, corner, before } = this.drag, point = this.at(event);
    const across = point[0] - from[0], down = point[1] - from[1];
    this.drag.to = point;
    this.drag.moved ||= Math.abs(across) + Math.abs(down) > 0;
    const region = this.regions[this.selected];
    if (kind === "whole") region.points = shifted(before, across, down, this.size);
    if (kind === "corner") region.points = isBox(before) ? box(before[(corner + 2) % 4], point) : before.map((one, place) => (place === corner ? point : one));
    this.render();
  }

  release() {
    const drag = this.drag;
    this.drag = null;
    if (!drag) return;
    if (drag.kind !== "new") return drag.moved ? this.done() : this.render();
    const [x, y] = drag.from, [right, bottom] = drag.to ?? drag.from;
    if (Math.abs(right - x) >= LEAST && Math.abs(bottom - y) >= LEAST) this.add(box(drag.from, drag.to));
    else this.render();
  }

  key(event) {
    const step = event.shiftKey ? 10 : 1;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const index = Number(event.target.dataset?.index ?? -1);
    if (index < 0) return;
    if (moves[event.key]) {
      this.selected = index;
      this.regions[index].points = shifted(this.regions[index].points, ...moves[event.key], this.size);
      this.done();
    } else if (event.key === "Delete" || event.key === "Backspace") this.remove(index);
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.svg.querySelector(`polygon[data-index="${index}"]`)?.focus();
  }

  /** A handle's radius, in pixels of the frame. */
  handle() {
    const scale = this.svg.getScreenCTM()?.a || 1;
    return HANDLE / scale;
  }

  render() {
    const shapes = this.hints.flatMap((one) => hint(one, LETTERS * this.handle() / HANDLE));
    const focused = document.activeElement?.dataset?.index;
    this.regions.forEach((one, index) => {
      const polygon = shape("polygon", { points: text(one.points), class: `region ${one.kind}`, tabindex: 0, role: "img" });
      polygon.dataset.index = index;
      polygon.classList.toggle("selected", index === this.selected);
      polygon.setAttribute("aria-label", `region ${index + 1} ${one.kind}: arrows move it, Delete removes it`);
      shapes.push(polygon);
    });
    const chosen = this.regions[this.selected];
    chosen?.points.forEach(([cx, cy], corner) => {
      const dot = shape("circle", { cx, cy, r: this.handle(), class: "handle" });
      Object.assign(dot.dataset, { index: this.selected, corner });
      shapes.push(dot);
    });
    if (this.corners) shapes.push(shape("polyline", { points: text(this.corners), class: `draft ${this.kind}` }),
      ...this.corners.map(([cx, cy]) => shape("circle", { cx, cy, r: this.handle(), class: "handle" })));
    if (this.drag?.kind === "new" && this.drag.to) {
      shapes.push(shape("polygon", { points: text(box(this.drag.from, this.drag.to)), class: `draft ${this.kind}` }));
    }
    this.svg.replaceChildren(...shapes);
    if (focused !== undefined) this.svg.querySelector(`polygon[data-index="${focused}"]`)?.focus();
  }
}

const NAMED = /^([A-Za-z][A-Za-z0-9_-]*)((?: (?:threshold|min_area)=[0-9.e+-]+)*) (.+)$/s; // as NamedRoi.identity writes them

/** Polygons of the areas that results and stations write: "X,Y,WIDTH,HEIGHT" or "X,Y X,Y X,Y"; none of a picture. */
export function pointsOf(area) {
  const parts = area.trim().split(/\s+/).map((part) => part.split(",").map(Number));
  if (parts.flat().some((number) => !Number.isInteger(number))) return null;
  if (parts.length === 1 && parts[0].length === 4) {
    const [x, y, width, height] = parts[0];
    return box([x, y], [x + width - 1, y + height - 1]);
  }
  return parts.length >= 3 && parts.every((part) => part.length === 2) ? parts : null;
}

/** What can be drawn of the areas that results and stations write, by kind; painted ones cannot. */
export function areasOf(areas) {
  const plain = (kind, texts) => (texts ?? []).map((area) => ({ points: pointsOf(area), kind }));
  const named = (areas?.named ?? []).map((area) => NAMED.exec(area)).filter(Boolean)
    .map(([, name, rules, area]) => ({ points: pointsOf(area), kind: "named", name, rules: rules.trim() }));
  return [...plain("judged", areas?.judge), ...plain("ignored", areas?.ignore), ...named].filter((one) => one.points);
}

/** An area that is only shown: its outline and, where it has one, its name in letters of that height in pixels of the frame. */
export function hint({ points, kind = "", name }, height) {
  const outline = shape("polygon", { points: text(points), class: `hint ${kind}` });
  if (!name) return [outline];
  const [left, top] = [0, 1].map((axis) => Math.max(0, Math.min(...points.map((point) => point[axis]))));
  const label = shape("text", { x: left + height / 3, y: top + 1.1 * height, "font-size": height, class: "area-name" });
  label.textContent = name;
  return [outline, label];
}

/** The reverse of `pointsOf`: a box as four numbers, else its corners. */
export function areaOf(points) {
  if (!isBox(points)) return points.map((point) => point.join(",")).join(" ");
  const [x, y, right, bottom] = [...points[0], ...points[2]];
  return [Math.min(x, right), Math.min(y, bottom), Math.abs(right - x) + 1, Math.abs(bottom - y) + 1].join(",");
}

export function box([x, y], [right, bottom]) {
  const [left, top] = [Math.min(x, right), Math.min(y, bottom)];
  const [far, low] = [Math.max(x, right), Math.max(y, bottom)];
  return [[left, top], [far, top], [far, low], [left, low]];
}

function isBox(points) {
  const [a, b, c, d] = points;
  return points.length === 4 && a[1] === b[1] && b[0] === c[0] && c[1] === d[1] && d[0] === a[0];
}

function shifted(points, across, down, [width, height]) {
  const xs = points.map(([x]) => x), ys = points.map(([, y]) => y);
  const right = Math.min(Math.max(across, -Math.min(...xs)), width - 1 - Math.max(...xs));
  const below = Math.min(Math.max(down, -Math.min(...ys)), height - 1 - Math.max(...ys));
  return points.map(([x, y]) => [x + right, y + below]);
}

const near = ([x, y], [u, v], reach) => Math.hypot(x - u, y - v) <= reach;
const text = (points) => points.map((point) => point.join(",")).join(" ");

function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
