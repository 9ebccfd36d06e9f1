// Blending on the members' codes, and outlines of what comes of it. Plain functions on arrays, no page.
//
// A code says in which of 1,024 even steps of the log-odds a probability lies; its middle stands for it.
// A field is a Float32Array of (width + 2) × (height + 2): the image with a rim of zeros, so that nothing asks whether
// it stands at the border. A pixel that every member calls 0, or every member calls 1, is the same under any weights:
// only the others ("open" pixels) are blended again, usually a few per cent of the image.

const NEAREST = 2 ** -11; // as in medseg/inference/blend.py: no member alone has a veto
const HAIR = 1e-4; // over the cut-off, or under it: a field of 32 bits may hold a cut-off itself as a little less
const TIE = 1e-9; // likewise: two halves of the weight, summed in different orders, differ by rounding

// As in medseg/app/render/planes.py: what a code stands for, and as a probability.
const CODES = 1024, FARTHEST = Math.log(1 / NEAREST - 1);
const LOG_ODDS = Float64Array.from({ length: CODES }, (_, code) => ((2 * code + 1) / CODES - 1) * FARTHEST);
const CHANCE = LOG_ODDS.map((odds, code) => (code === 0 ? 0 : code === CODES - 1 ? 1 : 1 / (1 + Math.exp(-odds))));

// From the library's name of a blend to how a member's code counts, and how the sum becomes a probability.
const SUMS = {
  "weighted mean": [(code) => CHANCE[code], (sum) => sum],
  geometric: [(code) => LOG_ODDS[code], (sum) => 1 / (1 + Math.exp(-sum))],
  "majority vote": [(code) => (code >= CODES / 2 ? 1 : 0), (sum) => sum], // 0.5 is the lower end of that step
};

const canBlend = (how) => how === "median" || how in SUMS; // STAPLE and stacking are the library's

// Every label made ready. Labels that exclude each other have their open pixels in common: each is decided by all.
function prepareAll(labels, width, height, task) {
  const isJoint = task === "multiclass" && labels.length > 1, isOpen = isJoint && new Uint8Array(width * height);
  if (isJoint) for (const planes of labels) for (let at = 0; at < isOpen.length; at++) isOpen[at] |= differ(planes, at);
  return Object.assign(labels.map((planes) => prepare(planes, width, height, isOpen)), { isJoint });
}

// Whether weights decide about a pixel: some member is not sure, or they contradict each other.
function differ(planes, at) {
  const first = planes[0][at];
  if (first !== 0 && first !== CODES - 1) return true;
  for (let m = 1; m < planes.length; m++) if (planes[m][at] !== first) return true;
  return false;
}

// One label of M planes of codes (Uint16Array, width × height each), made ready: the open pixels, each member's codes there, a
// field that already holds the others, and the cells of four neighbours through which an outline may run.
function prepare(planes, width, height, isOpen = null) {
  const stride = width + 2;
  const state = new Uint8Array(stride * (height + 2)); // 0: all say 0, 1: all say 1, 2: open
  let count = 0;
  for (let y = 0, from = 0; y < height; y++) {
    for (let x = 0, to = (y + 1) * stride + 1; x < width; x++, from++, to++) {
      const open = isOpen ? isOpen[from] : differ(planes, from);
      state[to] = open ? 2 : planes[0][from] && 1;
      count += open ? 1 : 0;
    }
  }
  const index = new Int32Array(count);
  const codes = planes.map(() => new Uint16Array(count));
  for (let y = 0, from = 0, next = 0; y < height; y++) {
    for (let x = 0, to = (y + 1) * stride + 1; x < width; x++, from++, to++) {
      if (state[to] !== 2) continue;
      for (let m = 0; m < planes.length; m++) codes[m][next] = planes[m][from];
      index[next++] = to;
    }
  }
  const field = new Float32Array(state.length);
  for (let at = 0; at < state.length; at++) if (state[at] === 1) field[at] = 1;
  return { width, height, index, codes, field, certain: field.slice(), cells: cellsOf(state, stride), sum: new Float32Array(count) };
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

// Blend all labels by `weights` (for each label one a member) into their fields.
function blendAll(labels, how, weights) {
  if (labels.isJoint && how === "geometric") return pool(labels, weights.map(shared));
  const isVote = labels.isJoint && how === "majority vote";
  (isVote ? votes(labels) : labels).forEach((label, k) => blend(label, isVote ? "weighted mean" : how, weights[k]));
  if (labels.isJoint) cap(labels);
}

function shared(weights) {
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
}

// Blend the open pixels of `label` by `weights` (one a member) into its field.
function blend(label, how, weights) {
  const shares = shared(weights);
  if (how === "median") return median(label, shares);
  const [counts, finish] = SUMS[how];
  const sum = label.sum.fill(0);
  for (const [share, codes] of shares.map((share, m) => [share, label.codes[m]]).filter(([share]) => share > 0)) {
    const table = Float32Array.from({ length: CODES }, (_, code) => share * counts(code));
    for (let j = 0; j < sum.length; j++) sum[j] += table[codes[j]];
  }
  const { index, field } = label;
  if (how === "geometric") for (let j = 0; j < sum.length; j++) field[index[j]] = finish(sum[j]);
  else for (let j = 0; j < sum.length; j++) field[index[j]] = sum[j];
}

// The mean of the lower and the upper weighted median, as the library has it. The members' order at a pixel does not
// depend on the weights: it is sorted once.
function median(label, shares) {
  const { order, values } = (label.sorted ??= sorted(label)), { index, field } = label, n = shares.length;
  for (let j = 0, from = 0; j < index.length; j++, from += n) {
    let i = from, reached = shares[order[i]];
    while (reached < 0.5 - TIE) reached += shares[order[++i]];
    const lower = values[i];
    while (reached < 0.5 + TIE && i < from + n - 1) reached += shares[order[++i]];
    field[index[j]] = (CHANCE[lower] + CHANCE[values[i]]) / 2;
  }
}

function sorted({ codes, index }) {
  const n = codes.length, order = new Uint8Array(index.length * n), values = new Uint16Array(index.length * n);
  for (let j = 0, from = 0; j < index.length; j++, from += n)
    for (let m = 0; m < n; m++) {
      const value = codes[m][j];
      let at = from + m;
      for (; at > from && values[at - 1] > value; at--) (values[at] = values[at - 1]), (order[at] = order[at - 1]);
      (values[at] = value), (order[at] = m);
    }
  return { order, values };
}

// --- labels that exclude each other (multiclass), as in medseg/inference/blend.py

// The labels with each member's vote in place of its codes: it votes with its own mask at one half.
function votes(labels) {
  labels.votes ??= labels.map((label) => ({ ...label, codes: label.codes.map((codes) => new Uint16Array(codes.length)) }));
  if (labels.votes.isCounted) return labels.votes;
  labels[0].codes.forEach((_, m) => {
    for (let j = 0; j < labels[0].index.length; j++) {
      const best = winner(labels.length, (k) => CHANCE[labels[k].codes[m][j]], 0.5);
      if (best >= 0) labels.votes[best].codes[m][j] = CODES - 1;
    }
  });
  labels.votes.isCounted = true;
  return labels.votes;
}

// The label that has a pixel: the largest (of equal ones the first), where their sum reaches the cut-off; else -1.
function winner(count, value, cutOff) {
  let sum = 0, best = 0;
  for (let k = 0; k < count; k++) {
    sum += value(k);
    if (value(k) > value(best)) best = k;
  }
  return sum >= cutOff ? best : -1;
}

// The geometric mean, with the background as one more label, which has a member's mean weight.
function pool(labels, shares) {
  const log = (chance) => Math.log(Math.max(chance, NEAREST)), logs = CHANCE.map(log);
  const members = labels[0].codes.map((_, m) => m), rest = members.map((m) => shares.reduce((sum, of) => sum + of[m], 0) / labels.length);
  const sums = new Float64Array(labels.length);
  for (let j = 0; j < labels[0].index.length; j++) {
    let none = 0;
    sums.fill(0);
    for (const m of members) {
      let left = 1;
      for (let k = 0; k < sums.length; k++) {
        const code = labels[k].codes[m][j];
        left -= CHANCE[code];
        if (shares[k][m]) sums[k] += shares[k][m] * logs[code];
      }
      none += rest[m] && rest[m] * log(left);
    }
    let total = Math.exp(none);
    for (let k = 0; k < sums.length; k++) total += sums[k] = Math.exp(sums[k]);
    for (let k = 0; k < sums.length; k++) labels[k].field[labels[k].index[j]] = sums[k] / total;
  }
}

// Labels whose sum exceeds 1 are divided by it.
function cap(labels) {
  for (const at of labels[0].index) {
    let sum = 0;
    for (const { field } of labels) sum += field[at];
    if (sum > 1) for (const { field } of labels) field[at] /= sum;
  }
}

// Twice the weighted standard deviation of the members, as the library's disagreement, into the field `out`.
function spread(label, weights, out) {
  const total = weights.reduce((a, b) => a + b, 0), { index, codes } = label;
  for (let j = 0; j < index.length; j++) {
    let mean = 0, square = 0;
    for (let m = 0; m < codes.length; m++) {
      const value = CHANCE[codes[m][j]], share = weights[m] / total;
      mean += share * value;
      square += share * value * value;
    }
    const apart = 2 * Math.sqrt(Math.max(0, square - mean * mean));
    if (apart > out[index[j]]) out[index[j]] = apart;
  }
  return out;
}

// A pixel is of one label at most: the fields are bent so that a field reaches the cut-off where its label has the
// pixel, and nowhere else.
function exclude(labels, cutOff) {
  for (const at of labels[0].index) {
    const best = winner(labels.length, (k) => labels[k].field[at], cutOff);
    labels.forEach(({ field }, k) => (field[at] = k === best ? Math.max(field[at], cutOff + HAIR) : Math.min(field[at], cutOff - HAIR)));
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
      field[at] = inside ? cutOff + HAIR : cutOff - HAIR;
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

let following = new Int32Array(0); // the edge after each edge, 0 where there is none: all 0 between two calls

// The outlines of the pixels whose field reaches `cutOff`: closed lines [x0, y0, x1, y1, …] in pixels of the image.
// A pixel's centre lies inside an outline just where the pixel is in the mask.
function outlines(field, cells, width, height, cutOff) {
  const stride = width + 2, starts = [];
  if (following.length < 2 * field.length) following = new Int32Array(2 * field.length);
  for (let n = 0; n < cells.length; n++) {
    const c = cells[n];
    const corners = (field[c] >= cutOff) | ((field[c + 1] >= cutOff) << 1) | ((field[c + stride + 1] >= cutOff) << 2) | ((field[c + stride] >= cutOff) << 3);
    if (corners === 0 || corners === 15) continue;
    const steps = stepsOf(c, stride, corners);
    for (let at = 0; at < steps.length; at += 2) following[steps[at]] = steps[at + 1], starts.push(steps[at]);
  }
  const lines = [];
  for (const start of starts) {
    if (!following[start]) continue;
    const line = [];
    for (let edge = start, next; (next = following[edge]); edge = next) {
      addPoint(line, edge, field, stride, width, height, cutOff);
      following[edge] = 0;
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
