// The score history: one stroke a result, from nothing to its score, against the threshold.

const LINEAR = 2.5; // thresholds up to which the whole scale is linear
const MARKS = { OK: "--ok-mark", NG: "--ng-mark", REVIEW: "--review-mark", INVALID: "--invalid-mark", LATE: "--late-mark" };

/** Draw `points` ([number, time, score, verdict], oldest first, at most `capacity`) and the thresholds into `canvas`. */
export function drawHistory(canvas, points, capacity, threshold, wanted) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, down = canvas.clientHeight;
  if (!width || !down) return;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(down * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(down * ratio);
  }
  const style = getComputedStyle(canvas);
  const color = (name) => style.getPropertyValue(name).trim();
  const unit = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, down);
  pen.font = `${0.88 * unit}px ${style.fontFamily}`;
  pen.textBaseline = "middle";

  const left = 0, right = width - 8.2 * unit, bottom = down - 0.3 * unit, upper = 0.6 * unit;
  const ceiling = ceilingOf(points, Math.max(threshold, wanted ?? 0));
  const most = ceiling / threshold;
  const y = (score) => bottom - (bottom - upper) * height(score / threshold, most);
  const step = (right - left) / capacity;
  const stroke = Math.max(1, step * 0.62);

  pen.fillStyle = color("--line");
  pen.fillRect(left, bottom, right - left, 1);
  points.forEach(([, , score, verdict], index) => {
    const x = right - (points.length - index) * step;
    pen.fillStyle = color(MARKS[verdict] ?? "--none-mark");
    pen.globalAlpha = verdict === "OK" ? 0.55 : 1;
    if (score === null) {
      pen.fillRect(x, bottom - 0.5 * unit, stroke, 0.5 * unit);
      return;
    }
    const top = y(score), wide = verdict === "OK" ? stroke : Math.max(stroke, 2.5);
    pen.fillRect(x, Math.min(top, bottom - 1), wide, Math.max(bottom - top, 1));
    if (score > ceiling) { // beyond the scale: an arrow on top
      pen.beginPath();
      pen.moveTo(x - 4, upper + 1); pen.lineTo(x + wide / 2, upper - 7); pen.lineTo(x + wide + 4, upper + 1);
      pen.fill();
    }
  });
  pen.globalAlpha = 1;
  if (most > LINEAR) label(pen, ceiling.toFixed(0), right + 0.7 * unit, upper + 0.4 * unit, color("--soft"));

  rule(pen, left, right, y(threshold), color("--ink"), []);
  label(pen, `threshold ${threshold.toFixed(2)}`, right + 0.7 * unit, y(threshold), color("--ink"));
  if (wanted !== null && wanted !== threshold) {
    rule(pen, left, right, y(wanted), color("--late-mark"), [6, 5]);
    const apart = Math.abs(y(wanted) - y(threshold)) < unit ? Math.sign(threshold - wanted || 1) * unit : 0;
    label(pen, `wanted ${wanted.toFixed(2)}`, right + 0.7 * unit, y(wanted) + apart, color("--late-mark"));
  }
}

/**
 * Where a score stands, from 0 to 1, given in thresholds; `most` is the top. What lies far above the threshold is told
 * apart too: beyond LINEAR thresholds the upper half of the scale is a logarithm.
 */
export function height(score, most) {
  const held = Math.min(Math.max(score, 0), most);
  if (most <= LINEAR) return held / most;
  return held <= 1 ? held / 2 : 0.5 + 0.5 * Math.log(held) / Math.log(most);
}

/** The highest score on the scale: a little above what is usual, so that one wild score does not flatten the rest. */
function ceilingOf(points, threshold) {
  const scores = points.map((point) => point[2]).filter((score) => score !== null).sort((a, b) => a - b);
  const usual = scores.length ? scores[Math.floor(0.98 * (scores.length - 1))] : 0;
  return Math.max(1.6 * threshold, 1.15 * usual);
}

function rule(pen, from, to, y, color, dash) {
  pen.strokeStyle = color;
  pen.lineWidth = 2;
  pen.setLineDash(dash);
  pen.beginPath();
  pen.moveTo(from, y);
  pen.lineTo(to, y);
  pen.stroke();
  pen.setLineDash([]);
}

function label(pen, text, x, y, color) {
  pen.fillStyle = color;
  pen.fillText(text, x, y);
}
