// The views of the image: masks, each model, values as colours, what lies around them; by the 2-D canvas or WebGL2.

// --- drawing: at most once a frame

function draw() {
  if (dirty || !open || !settings) return;
  dirty = true;
  requestAnimationFrame(() => {
    dirty = false;
    if (!stage.clientWidth) return; // another tab is open
    inkPath();
    if (pen.spot) placeRing();
    drawBase();
    drawOver();
    reading();
    store.drawn?.(performance.now());
  });
}

const HEAT = Array.from({ length: 256 }, (_, byte) => {
  const at = (byte / 255) * (VIRIDIS.length - 1), low = Math.min(Math.floor(at), VIRIDIS.length - 2), share = at - low;
  const channel = (n, i) => parseInt(VIRIDIS[n].slice(2 * i, 2 * i + 2), 16);
  return [0, 1, 2].map((i) => Math.round(channel(low, i) * (1 - share) + channel(low + 1, i) * share));
});

function sized(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const width = Math.round(stage.clientWidth * ratio), height = Math.round(stage.clientHeight * ratio);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

let painted = "";
function drawBase() {
  const { zoom, x, y } = now(), key = [open.token, level, zoom, x, y, stage.clientWidth, stage.clientHeight].join();
  if (key === painted) return; // a slider moves only what lies over it
  painted = key;
  const context = sized(base);
  context.clearRect(0, 0, stage.clientWidth, stage.clientHeight);
  context.imageSmoothingEnabled = zoom < 6; // nearer, a pixel is a square
  context.imageSmoothingQuality = "high";
  context.drawImage(image, x, y, open.width * zoom, open.height * zoom);
}

function drawOver() {
  const context = sized(over);
  context.clearRect(0, 0, stage.clientWidth, stage.clientHeight);
  const byGlass = !withheld && isByGlass();
  pane.hidden = !byGlass || hidden;
  pane.style.clipPath = over.style.clipPath = split === null ? "" : "inset(0 0 0 " + split * 100 + "%)";
  if (hidden || view === "none" || (withheld && !store.drawing)) return legend([]);
  if (withheld) return legend(drawDrawing(context));
  if (byGlass) drawGlass();
  else once("shapes", shapes);
  if (view === "models") drawModels(context);
  else if (view === "errors") drawErrors(context);
  else {
    if (view !== "mask" && !byGlass) drawHeat(context);
    drawMasks(context, view === "mask");
  }
  drawPolygon(context);
}

// What WebGL2 draws: everything but the truth and drawings, which the 2-D canvas above it does.
const HEATS = { mask: 0, models: 0, probability: 1, differ: 2, unsure: 3 };
const isByGlass = () => Boolean(glass && open.isOnGlass && view in HEATS && !isEditing() && !Array.isArray(settings.threshold));
const cutOffOf = (k) => settings.threshold[k] ?? settings.threshold; // one for all labels, or one for each

function drawGlass() {
  const { members, labels } = open, { weights, threshold: cutOff, opacity } = settings, isModels = view === "models", isMask = view === "mask";
  const layers = isModels ? "models" : exact && view === "differ" ? "differ" : "masks";
  if (worked.layers !== layers) fillLayers(layers); // there is one set of layers for all views
  worked.layers = layers;
  const ink = (k, m = 0) => [isModels ? memberColour(m) : isMask ? colours[k] : "#ffffff", !isShown(k) ? 0 : isModels && !weights[k][m] ? 0.5 : 1];
  const inks = isModels ? members.flatMap((_, m) => labels.map((_, k) => ink(k, m))) : labels.map((_, k) => ink(k));
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  glass.show(now(), [stage.clientWidth, stage.clientHeight, ratio], { heat: HEATS[view], colours: inks, cutOff, opacity: isMask ? opacity ?? 0.3 : 0, halfWidth: view in { mask: 0, models: 0 } ? 1 : 0.5 });
}

function fillLayers(layers) {
  const { members, labels, ready } = open, { weights, threshold, blend: how } = settings;
  const only = (m) => labels.map(() => members.map((_, other) => Number(other === m)));
  if (layers === "models") return glass.mix(members.flatMap((_, m) => labels.map((_, label) => ({ label, weights: only(m) }))), "weighted mean", threshold);
  if (!exact && canBlend(how)) return glass.mix(labels.map((_, label) => ({ label, weights })), how, threshold);
  once("fields", fields);
  const apart = ready.map((label, k) => layers === "differ" && spread(label, weights[k], new Float32Array(label.field.length)));
  glass.take(ready.map(({ field }) => field), apart);
}

const isShown = (k) => !settings.hidden?.includes(open.labels[k]);

// What is worked out once for an image and its settings, however often it is drawn: zoom and pan only draw.
let worked = {};
const once = (key, make) => (worked[key] ??= make());

// Every label's field at the settings of now, bent to the library's own masks where they are there; and the cells through
// which its outline may run.
function fields() {
  const { blend: how, weights } = settings, { ready } = open;
  ready.forEach((label, k) => {
    if (label.isBent) label.field.set(label.certain);
    if (exact?.field.length) fill(label, exact.field[k]);
  });
  if (!exact?.field.length && canBlend(how)) blendAll(ready, how, weights);
  if (!exact && ready.isJoint) exclude(ready, settings.threshold);
  return ready.map((label, k) => {
    label.isBent = Boolean(exact);
    return exact ? bend(label, exact.masks[k >> 3], k & 7, cutOffOf(k)) : label.cells;
  });
}

function shapes() {
  const cells = once("fields", fields), { ready, width, height } = open;
  return ready.map(({ field }, k) => outlines(field, cells[k], width, height, cutOffOf(k)));
}

function fill(label, plane) {
  const { field, width, height } = label;
  for (let y = 0, from = 0; y < height; y++)
    for (let x = 0, at = (y + 1) * (width + 2) + 1; x < width; x++) field[at++] = plane[from++] / 255;
}

function pathOf(lines) {
  const { zoom, x, y } = now(), path = new Path2D();
  for (const points of lines) {
    path.moveTo(points[0] * zoom + x, points[1] * zoom + y);
    for (let at = 2; at < points.length; at += 2) path.lineTo(points[at] * zoom + x, points[at + 1] * zoom + y);
    path.closePath();
  }
  return path;
}

function stroke(context, path, colour, dash = [], width = 2) {
  context.lineJoin = "round";
  context.setLineDash([]);
  context.strokeStyle = "#04141a"; // a dark edge: seen on a bright ground too
  context.lineWidth = width + 2;
  context.stroke(path);
  context.setLineDash(dash);
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke(path);
}

function drawMasks(context, tinted) {
  if (tinted && isEditing()) {
    drawShapes(context, "#ffffff", [4, 4]);
    return legend([...drawDrawing(context), ["#ffffff", "the ensemble's mask", undefined, "dashed"]]);
  }
  if (!tinted && !isByGlass()) drawShapes(context, "#ffffff");
  if (!tinted) return legend([[null, view]]);
  const entries = [];
  open.ready.forEach((label, k) => {
    if (!isShown(k)) return;
    if (!isByGlass()) drawMask(context, pathOf(once("shapes", shapes)[k]), colours[k]);
    entries.push([colours[k], open.labels[k], k]);
  });
  legend([...entries, ...drawAround(context)]);
}

function drawMask(context, path, colour) {
  context.globalAlpha = settings.opacity ?? 0.3;
  context.fillStyle = colour;
  context.fill(path, "evenodd");
  context.globalAlpha = 1;
  stroke(context, path, colour);
}

// The outlines of the masks alone, thin.
function drawShapes(context, colour, dash = []) {
  open.labels.forEach((_, k) => isShown(k) && stroke(context, pathOf(once("shapes", shapes)[k]), colour, dash, 1));
}

// What the library was asked to draw around its masks: bounds, dashed, where they differ; the truth, dotted.
function drawAround(context) {
  const drawn = [];
  const around = [["#ffb000", "surely (inside)", exact?.bounds[0]], ["#ff6ec7", "possibly (outside)", exact?.bounds[1]]];
  for (const [colour, name, bits] of around) {
    if (!bits?.length) continue;
    open.labels.forEach((_, k) => isShown(k) && stroke(context, pathOf(once(name + k, () => outlinesOf(maskOf(bits, k)))), colour, [7, 5]));
    drawn.push([colour, name, undefined, "dashed"]);
  }
  if (!hasTruth()) return drawn;
  open.labels.forEach((_, k) => isShown(k) && stroke(context, pathOf(truthLines(k)), "#ffffff", [2, 4]));
  return [...drawn, ["#ffffff", "truth", undefined, "dotted"]];
}

function outlinesOf(mask) {
  const { width, height } = open, stride = width + 2, state = new Uint8Array(stride * (height + 2));
  for (let y = 0; y < height; y++) state.set(mask.subarray(y * width, (y + 1) * width), (y + 1) * stride + 1);
  return outlines(state, cellsOf(state, stride), width, height, 0.5);
}

function drawModels(context) {
  const { members, labels } = open, counts = settings.weights[0], total = counts.reduce((a, b) => a + b, 0);
  const each = isByGlass() ? null : once("models", modelShapes);
  if (each) members.forEach((_, m) =>
    labels.forEach((_, k) => isShown(k) && stroke(context, pathOf(each[m][k]), memberColour(m), settings.weights[k][m] > 0 ? [] : [3, 5]))
  );
  legend(members.map((name, m) => [memberColour(m), title(name) + " " + Math.round((100 * counts[m]) / total) + " %"]));
}

const memberColour = (m) => MEMBER_COLOURS[m % MEMBER_COLOURS.length];

// Each member's own outlines: all the weight is its own for a moment.
function modelShapes() {
  const { ready, members, width, height } = open, alone = ready.map((label) => ({ ...label, field: label.certain.slice() }));
  return members.map((_, m) => {
    for (const label of alone) blend(label, "weighted mean", members.map((_, other) => Number(other === m)));
    if (ready.isJoint) exclude(alone, settings.threshold);
    return alone.map((label, k) => outlines(label.field, label.cells, width, height, cutOffOf(k)));
  });
}

const title = (name) => store.titles?.[name] ?? name;

const layer = new OffscreenCanvas(1, 1);
function drawHeat(context) {
  const { width, height } = open, { zoom, x, y } = now();
  if (worked.heat !== view) paintHeat();
  worked.heat = view; // there is one layer for all views
  context.imageSmoothingEnabled = zoom < 6;
  context.drawImage(layer, x, y, width * zoom, height * zoom);
}

function paintHeat() {
  const { width, height } = open, values = heat(), data = new ImageData(width, height), out = data.data;
  for (let y = 0, to = 0; y < height; y++)
    for (let x = 0, at = (y + 1) * (width + 2) + 1; x < width; x++, at++, to += 4) {
      const byte = Math.round(values[at] * 255);
      if (!byte) continue;
      [out[to], out[to + 1], out[to + 2]] = HEAT[byte];
      out[to + 3] = Math.min(2 * byte, 255) * 0.75; // as the library's: nothing to show, nothing over the image
    }
  Object.assign(layer, { width, height });
  layer.getContext("2d").putImageData(data, 0, 0);
}

function heat() {
  const shown = open.ready.filter((_, k) => isShown(k)), out = new Float32Array(open.ready[0].field.length);
  open.ready.forEach((label, k) => view === "differ" && isShown(k) && spread(label, settings.weights[k], out));
  if (view === "differ") return out;
  for (const { field } of shown)
    for (let at = 0; at < out.length; at++) {
      const p = field[at];
      const value = view === "probability" ? p : p > 0 && p < 1 ? -(p * Math.log2(p) + (1 - p) * Math.log2(1 - p)) : 0;
      if (value > out[at]) out[at] = value;
    }
  return out;
}
