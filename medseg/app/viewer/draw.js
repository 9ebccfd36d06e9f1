// A drawing: what strokes make of some masks. Plain functions on arrays, no page.
//
// For each label `marks` holds a byte a pixel (0: as it was begun, 1: painted, 2: erased) and `now` the mask that comes
// of it. The library gets the marks, so that pixels without a stroke stay as they are on the image's own, finer grid.

const STEPS = 100; // that can be undone

function newDrawing(about, base, width, height, exclusive) {
  const empty = () => new Uint8Array(width * height);
  return { ...about, base, width, height, exclusive, marks: base.map(empty), now: base.map((mask) => mask.slice()),
    label: 0, revision: 0, done: [], undone: [], before: null, box: null, counted: null };
}

// One label's mask out of planes of bits.
function maskOf(planes, label) {
  return planes[label >> 3].map((bits) => (bits >> (label & 7)) & 1);
}

function mark(drawing, label, at, value) {
  drawing.marks[label][at] = value;
  drawing.now[label][at] = value === 0 ? drawing.base[label][at] : Number(value === 1);
}

function beginStroke(drawing) {
  drawing.before = drawing.marks.map((marks) => marks.slice());
  drawing.box = [drawing.width, drawing.height, 0, 0];
}

// Paint (1) or erase (2) the row `y` from column `from` up to but not with `to`.
function markRow(drawing, y, from, to, value) {
  const { width, height, label, box, exclusive, marks } = drawing;
  from = Math.max(from, 0);
  to = Math.min(to, width);
  if (y < 0 || y >= height || from >= to) return;
  for (let at = y * width + from; at < y * width + to; at++)
    for (let k = 0; k < marks.length; k++)
      if (k === label) mark(drawing, k, at, value);
      else if (exclusive && value === 1) mark(drawing, k, at, 2); // a pixel has one label
  drawing.box = [Math.min(box[0], from), Math.min(box[1], y), Math.max(box[2], to), Math.max(box[3], y + 1)];
}

// Every pixel whose centre lies within half of `size` of the line from `a` to `b`, and the one under `b`.
function markLine(drawing, a, b, size, value) {
  const radius = size / 2, [dx, dy] = [b[0] - a[0], b[1] - a[1]], long = dx * dx + dy * dy;
  markRow(drawing, Math.floor(b[1]), Math.floor(b[0]), Math.floor(b[0]) + 1, value);
  for (let y = Math.floor(Math.min(a[1], b[1]) - radius); y <= Math.max(a[1], b[1]) + radius; y++) {
    let from = Infinity, to = -Infinity; // a line with round ends is convex: a row has one run of it
    for (let x = Math.floor(Math.min(a[0], b[0]) - radius); x <= Math.max(a[0], b[0]) + radius; x++) {
      const [px, py] = [x + 0.5 - a[0], y + 0.5 - a[1]];
      const share = long ? Math.min(Math.max((px * dx + py * dy) / long, 0), 1) : 0;
      if (Math.hypot(px - share * dx, py - share * dy) > radius) continue;
      from = Math.min(from, x);
      to = x + 1;
    }
    markRow(drawing, y, from, to, value);
  }
}

// Every pixel whose centre lies inside the polygon, by the even-odd rule.
function markPolygon(drawing, points, value) {
  for (let y = 0; y < drawing.height; y++) {
    const middle = y + 0.5, crossings = [];
    points.forEach(([x0, y0], n) => {
      const [x1, y1] = points[(n + 1) % points.length];
      if (y0 <= middle !== y1 <= middle) crossings.push(x0 + ((middle - y0) / (y1 - y0)) * (x1 - x0));
    });
    crossings.sort((a, b) => a - b);
    for (let n = 0; n + 1 < crossings.length; n += 2) markRow(drawing, y, Math.ceil(crossings[n] - 0.5), Math.ceil(crossings[n + 1] - 0.5), value);
  }
}

// The stroke is done, and can be undone; or it is taken back at once, as none was meant.
function endStroke(drawing, isMeant = true) {
  const { before, box, label, exclusive, width } = drawing;
  drawing.before = null;
  if (box[0] >= box[2]) return;
  const crop = (planes) => planes.map((plane, k) => (k === label || exclusive ? cropped(plane, box, width) : null));
  const step = { box, before: crop(before), after: crop(drawing.marks) };
  if (!isMeant) return putBack(drawing, step.before, box);
  drawing.done = [...drawing.done, step].slice(-STEPS);
  drawing.undone = [];
  drawing.revision++;
}

function cropped(plane, [x0, y0, x1, y1], width) {
  const part = new Uint8Array((x1 - x0) * (y1 - y0));
  for (let y = y0, to = 0; y < y1; y++, to += x1 - x0) part.set(plane.subarray(y * width + x0, y * width + x1), to);
  return part;
}

function putBack(drawing, parts, [x0, y0, x1, y1]) {
  parts.forEach((part, k) => {
    if (!part) return;
    for (let y = y0, from = 0; y < y1; y++) for (let x = x0; x < x1; x++) mark(drawing, k, y * drawing.width + x, part[from++]);
  });
}

// Undo or redo the last step; false where there is none.
function undo(drawing) {
  return again(drawing, drawing.done, drawing.undone, "before");
}

function redo(drawing) {
  return again(drawing, drawing.undone, drawing.done, "after");
}

function again(drawing, from, to, side) {
  const step = from.pop();
  if (!step) return false;
  putBack(drawing, step[side], step.box);
  to.push(step);
  drawing.revision++;
  return true;
}

// Where `marks` have the `value`, as run lengths down the columns: COCO's counts, as the library reads them.
function runLengths(marks, value, width, height) {
  const counts = [];
  let isInside = false, length = 0;
  for (let x = 0; x < width; x++)
    for (let at = x; at < width * height; at += width, length++) {
      if ((marks[at] === value) === isInside) continue;
      counts.push(length);
      isInside = !isInside;
      length = 0;
    }
  return [...counts, length].join(" ");
}

function strokesOf({ marks, width, height }) {
  return marks.map((plane) => [1, 2].map((value) => runLengths(plane, value, width, height)));
}

// Pixels of a field with its rim that reaches the cut-off, against a truth: the library's Confusion.
function confusion(field, cutOff, truth, width, height) {
  let tp = 0, fp = 0, fn = 0;
  for (let y = 0, from = 0; y < height; y++)
    for (let x = 0, at = (y + 1) * (width + 2) + 1; x < width; x++, at++, from++) {
      const isFound = field[at] >= cutOff;
      if (truth[from]) isFound ? tp++ : fn++;
      else if (isFound) fp++;
    }
  return { tp, fp, fn, ...overlap(tp, fp, fn) };
}

// What strokes changed, against what the drawing was begun with.
function changesOf({ now, base, label }) {
  let tp = 0, fp = 0, fn = 0;
  for (let at = 0; at < now[label].length; at++) {
    if (now[label][at]) base[label][at] ? tp++ : fp++;
    else if (base[label][at]) fn++;
  }
  return { added: fp, removed: fn, before: tp + fn, after: tp + fp, same: overlap(tp, fp, fn).dice };
}

// Nothing to find and nothing found is an overlap of 1, as in medseg/metrics.py.
function overlap(tp, fp, fn) {
  const all = tp + fp + fn;
  return { dice: all ? (2 * tp) / (all + tp) : 1, iou: all ? tp / all : 1 };
}
