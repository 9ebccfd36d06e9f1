// Blending on the members' 8-bit planes, and outlines of what comes of it. Plain functions on arrays, no page.
//
// A field is a Float32Array of (width + 2) × (height + 2): the image with a rim of zeros, so that nothing asks whether
// it stands at the border. A pixel that every member calls 0, or every member calls 255, is the same under any weights:
// only the others ("open" pixels) are blended again, usually a few per cent of the image.

const NEAREST = 2 ** -11; // as in medseg/inference/blend.py: no member alone has a veto
const TIE = 1e-9; // likewise: two halves of the weight, summed in different orders, differ by rounding

// From the library's name of a blend to the table by which a member's byte counts, and how the sum becomes a number.
const logit = (p) => Math.log(p / (1 - p));
const SUMS = {
  "weighted mean": [(byte) => byte / 255, (sum) => sum],
  geometric: [
    (byte) => logit(Math.min(Math.max(byte / 255, NEAREST), 1 - NEAREST)),
    (sum) => 1 / (1 + Math.exp(-sum)),
  ],
  "majority vote": [(byte) => (byte >= 128 ? 1 : 0), (sum) => sum], // 0.5 is stored as 128
};

function canBlend(how, task) {
  // Labels that exclude each other need all labels at once beyond the mean; STAPLE and stacking are the library's.
  return task === "multiclass" ? how === "weighted mean" : how === "median" || how in SUMS;
}

// One label of M planes (Uint8Array, width × height each), made ready: the open pixels, each member's bytes there, a
// field that already holds the others, and the cells of four neighbours through which an outline may run.
function prepare(planes, width, height) {
  const stride = width + 2;
  const state = new Uint8Array(stride * (height + 2)); // 0: all say 0, 1: all say 255, 2: open
  let count = 0;
  for (let y = 0, from = 0; y < height; y++) {
    for (let x = 0, to = (y + 1) * stride + 1; x < width; x++, from++, to++) {
      const first = planes[0][from];
      let open = first !== 0 && first !== 255;
      for (let m = 1; !open && m < planes.length; m++) open = planes[m][from] !== first;
      state[to] = open ? 2 : first && 1;
      count += open;
    }
  }
  const index = new Int32Array(count);
  const bytes = planes.map(() => new Uint8Array(count));
  for (let y = 0, from = 0, next = 0; y < height; y++) {
    for (let x = 0, to = (y + 1) * stride + 1; x < width; x++, from++, to++) {
      if (state[to] !== 2) continue;
      for (let m = 0; m < planes.length; m++) bytes[m][next] = planes[m][from];
      index[next++] = to;
    }
  }
  const field = new Float32Array(state.length);
  for (let at = 0; at < state.length; at++) if (state[at] === 1) field[at] = 1;
  return { width, height, index, bytes, field, certain: field.slice(), cells: cellsOf(state, stride), sum: new Float32Array(count) };
}

function cellsOf(state, stride) {
  const cells = new Int32Array(state.length);
  let count = 0;
  for (let cell = 0; cell + stride + 1 < state.length; cell++) {
    const first = state[cell];
    if (first !== 2 && first === state[cell + 1] && first === state[cell + stride] && first === state[cell + stride + 1]) continue;
    cells[count++] = cell;
  }
  return cells.slice(0, count);
}

// Blend the open pixels of `label` by `weights` (one a member) into its field.
function blend(label, how, weights) {
  const total = weights.reduce((a, b) => a + b, 0);
  const part = weights.map((w, m) => [w / total, label.bytes[m]]).filter(([share]) => share > 0);
  if (how === "median") return median(label, part);
  const [counts, finish] = SUMS[how];
  const sum = label.sum.fill(0);
  for (const [share, bytes] of part) {
    const table = Float32Array.from({ length: 256 }, (_, byte) => share * counts(byte));
    for (let j = 0; j < sum.length; j++) sum[j] += table[bytes[j]];
  }
  const { index, field } = label;
  if (how === "geometric") for (let j = 0; j < sum.length; j++) field[index[j]] = finish(sum[j]);
  else for (let j = 0; j < sum.length; j++) field[index[j]] = sum[j];
}

// The mean of the lower and the upper weighted median, as the library has it.
function median(label, part) {
  const { index, field } = label, n = part.length;
  const values = new Float64Array(n), shares = new Float64Array(n);
  for (let j = 0; j < index.length; j++) {
    for (let m = 0; m < n; m++) {
      const [share, bytes] = part[m], value = bytes[j];
      let at = m;
      for (; at > 0 && values[at - 1] > value; at--) (values[at] = values[at - 1]), (shares[at] = shares[at - 1]);
      (values[at] = value), (shares[at] = share);
    }
    let lower = values[0], upper = values[0], reached = shares[0];
    for (let m = 1; m < n; m++) {
      if (reached < 0.5 - TIE) lower = values[m];
      if (reached < 0.5 + TIE) upper = values[m];
      reached += shares[m];
    }
    field[index[j]] = (lower + upper) / 510;
  }
}

// Twice the weighted standard deviation of the members, as the library's disagreement, into the field `out`.
function spread(label, weights, out) {
  const total = weights.reduce((a, b) => a + b, 0), { index, bytes } = label;
  for (let j = 0; j < index.length; j++) {
    let mean = 0, square = 0;
    for (let m = 0; m < bytes.length; m++) {
      const value = bytes[m][j] / 255, share = weights[m] / total;
      mean += share * value;
      square += share * value * value;
    }
    const apart = 2 * Math.sqrt(Math.max(0, square - mean * mean));
    if (apart > out[index[j]]) out[index[j]] = apart;
  }
}

// Labels that exclude each other: a pixel is foreground where their sum reaches the cut-off, and then of its largest.
// The fields are bent so that a field reaches the cut-off where its label has the pixel, and nowhere else.
function exclude(labels, cutOff) {
  for (let at = 0; at < labels[0].field.length; at++) {
    let sum = 0, best = 0;
    for (let k = 0; k < labels.length; k++) {
      sum += labels[k].field[at];
      if (labels[k].field[at] > labels[best].field[at]) best = k;
    }
    if (!sum) continue;
    for (let k = 0; k < labels.length; k++) {
      const field = labels[k].field;
      if (k === best && sum >= cutOff) field[at] = Math.max(field[at], cutOff);
      else field[at] = Math.min(field[at], cutOff - 1e-4);
    }
  }
}

// The field bent to a mask (Uint8Array of bits, width × height) of the library's: it reaches the cut-off in the mask.
// Returns the cells through which its outline may run: others too where a clean-up changed what all members agree on.
function bend(label, mask, bit, cutOff) {
  const { field, certain, width, height } = label, stride = width + 2;
  let isOdd = false;
  for (let y = 0, from = 0; y < height; y++) {
    for (let x = 0, at = (y + 1) * stride + 1; x < width; x++, at++, from++) {
      const inside = (mask[from] >> bit) & 1;
      if (inside === Number(field[at] >= cutOff)) continue;
      isOdd ||= field[at] === certain[at];
      field[at] = inside ? cutOff : cutOff - 1e-4;
    }
  }
  return isOdd ? cellsOf(Uint8Array.from(field, (value) => value >= cutOff), stride) : label.cells;
}

// Marching squares. A cell is named by its upper left pixel, its edges by 2 × pixel (to the right) and 2 × pixel + 1
// (downwards). A step leads from edge to edge with the mask on its right hand, so every edge has at most one successor.
const RIGHT = 0, DOWN = 1;
function stepsOf(cell, stride, corners) {
  const top = 2 * cell + RIGHT, left = 2 * cell + DOWN, right = 2 * (cell + 1) + DOWN, bottom = 2 * (cell + stride) + RIGHT;
  switch (corners) { // 1: upper left, 2: upper right, 4: lower right, 8: lower left are inside
    case 1: return [top, left];
    case 2: return [right, top];
    case 3: return [right, left];
    case 4: return [bottom, right];
    case 5: return [top, left, bottom, right];
    case 6: return [bottom, top];
    case 7: return [bottom, left];
    case 8: return [left, bottom];
    case 9: return [top, bottom];
    case 10: return [right, top, left, bottom];
    case 11: return [right, bottom];
    case 12: return [left, right];
    case 13: return [top, right];
    default: return [left, top]; // 14
  }
}

// The outlines of the pixels whose field reaches `cutOff`: closed lines [x0, y0, x1, y1, …] in pixels of the image.
// A pixel's centre lies inside an outline just where the pixel is in the mask.
function outlines(field, cells, width, height, cutOff) {
  const stride = width + 2, next = new Map();
  for (let n = 0; n < cells.length; n++) {
    const c = cells[n];
    const corners = (field[c] >= cutOff) | ((field[c + 1] >= cutOff) << 1) | ((field[c + stride + 1] >= cutOff) << 2) | ((field[c + stride] >= cutOff) << 3);
    if (corners === 0 || corners === 15) continue;
    const steps = stepsOf(c, stride, corners);
    next.set(steps[0], steps[1]);
    if (steps.length === 4) next.set(steps[2], steps[3]);
  }
  const lines = [];
  for (const [start] of next) {
    if (!next.has(start)) continue;
    const line = [];
    for (let edge = start; next.has(edge); ) {
      addPoint(line, edge, field, stride, width, height, cutOff);
      const following = next.get(edge);
      next.delete(edge);
      edge = following;
    }
    lines.push(line);
  }
  return lines;
}

function addPoint(line, edge, field, stride, width, height, cutOff) {
  const at = edge >> 1, down = edge & 1, other = down ? at + stride : at + 1;
  const share = Math.min(Math.max((cutOff - field[at]) / (field[other] - field[at]), 0), 1);
  const x = (at % stride) - 0.5 + (down ? 0 : share), y = Math.floor(at / stride) - 0.5 + (down ? share : 0);
  line.push(Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height));
}
