// The viewer: canvas, views, zoom. It runs once for a page; `element`, `props`, `trigger` and `watch` are gr.HTML's.
// Settings come from the mixer as a "medseg:settings" event, images and results from Python as `props.value`.

const MEMBER_COLOURS = ["#22d3ee", "#facc15", "#f472b6", "#a3e635", "#fb923c", "#c4b5fd", "#f8fafc", "#34d399"];
// Okabe and Ito's, of which the one farthest from the image around the mask is taken: sky blue first, as no tissue has it.
const LABEL_COLOURS = ["#56b4e9", "#f0e442", "#00d9a0", "#ff8c42", "#ff8fd0", "#b18cff"];
const VIRIDIS = ["440154", "482878", "3e4989", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725"];
const MAX_ZOOM = 32, STEP = 1.25;

const $ = (selector) => element.querySelector(selector);
const room = $(".room"), stage = $(".stage"), base = $(".base"), pane = $(".glass"), over = $(".over"), line = $(".line");
const store = (window.medseg ??= {}); // shared by the scripts of this page, and looked at by its tests

const asked = new URLSearchParams(location.search).get("draw"); // "2d" and "webgl" settle it, for tests and measurements
let glass = asked === "2d" ? null : newGlass(pane, asked === "webgl"); // what draws by WebGL2; null: the 2-D canvas does
pane.addEventListener("webglcontextlost", () => {
  glass = null;
  worked = {};
  draw();
});

let open = null; // the image that is shown: its pixels, planes made ready, names
let exact = null; // the library's masks at `open`'s settings, until the next move of a slider
let settings = null; // weights (label by member), threshold, blend, opacity, hidden labels
let truth = []; // its planes of bits; it stays while sliders move
let view = "mask", place = null, split = null, hidden = false, colours = [], dirty = false, withheld = false, level = [0, 1];

// --- what comes from Python

const decode = async (src) => {
  const blob = await (await fetch(src)).blob();
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height).data;
};

// The red, green and blue of PNGs as one plane after the other.
async function unpack(sources, count) {
  const planes = [];
  for (const data of await Promise.all(sources.map(decode)))
    for (let channel = 0; channel < 3 && planes.length < count; channel++) {
      const plane = new Uint8Array(data.length / 4);
      for (let at = 0, from = channel; at < plane.length; at++, from += 4) plane[at] = data[from];
      planes.push(plane);
    }
  return planes;
}

let newest = 0; // of several values on their way the last one wins
async function receive(value) {
  if (value?.counted) return open ? counted(value.counted) : trigger("again", {});
  if (!value?.result || value.token + ":" + value.number === over.dataset.result) return;
  const number = ++newest;
  if (!value.planes && value.token !== open?.token) return trigger("again", {}); // this page was drawn anew
  const next = value.planes ? await openedFrom(value) : open;
  const result = await resultFrom(value.result, next);
  const begun = value.drawn && (await unpack(value.drawn.masks, Math.ceil(next.labels.length / 8)));
  if (number !== newest) return;
  if (next !== open) show(next, value);
  exact = result;
  truth = result.truth;
  if (begun) startDrawing(value.drawn, begun);
  else if (store.drawing && value.drawing !== store.drawing.token) endDrawing();
  worked = {};
  settings = { ...settings, ...result.settings };
  if (!colours.length) colours = chooseColours();
  withheld = value.result.withheld;
  store.doubt = value.result.mark;
  $(".waiting").hidden = !withheld;
  $(".waiting").textContent = withheld ? "No mask: none of the ensembles here is made for this image." : "";
  over.setAttribute("aria-label", value.result.alt);
  over.dataset.result = value.token + ":" + value.number; // another value for every result that is shown
  document.dispatchEvent(new CustomEvent("medseg:shown", { detail: value }));
  offerTools();
  draw();
}

async function openedFrom(value) {
  const [height, width] = value.size, members = value.members.length, labels = value.labels.length;
  const [pixels, planes] = await Promise.all([decode(value.image.src), unpack(value.planes, members * labels)]);
  const ofLabels = value.labels.map((_, k) => value.members.map((_, m) => planes[m * labels + k]));
  const ready = prepareAll(ofLabels, width, height, value.task);
  return { ...value, width, height, pixels, ready, planes: ofLabels };
}

async function resultFrom(result, of) {
  const groups = Math.ceil(of.labels.length / 8);
  const [masks, field, truth, ...bounds] = await Promise.all([
    unpack(result.masks, groups), unpack(result.field, of.labels.length), unpack(result.truth, groups),
    ...result.bounds.map((sources) => unpack(sources, groups)),
  ]);
  const each = of.labels.map((_, k) => result.weights.map((weight) => weight[k]));
  const { threshold, blend, opacity, hidden } = result;
  return { masks, field, truth, bounds, settings: { weights: each, threshold, blend, opacity, hidden } };
}

function show(next, value) {
  const another = !open || next.width !== open.width || next.height !== open.height || next.name !== open.name;
  open = next;
  open.isOnGlass = Boolean(glass?.fits(next.members.length, next.labels.length));
  if (open.isOnGlass) glass.load(next.planes, next.width, next.height, next.ready.isJoint);
  open.planes = undefined;
  if (another) { place = null; colours = []; }
  if (another || !store.keepLevel) level = [0, 1];
  paintImage();
  const { name } = value;
  document.dispatchEvent(new CustomEvent("medseg:opened", { detail: { name, width: next.width, height: next.height, value } }));
}

// --- the image, through the window that was dragged

const image = new OffscreenCanvas(1, 1);
function paintImage() {
  const { pixels, width, height } = open, [low, high] = level;
  image.width = width;
  image.height = height;
  const data = new ImageData(width, height), out = data.data, scale = 255 / Math.max(high - low, 1 / 65535);
  if (!open.image.deep) out.set(pixels);
  else
    for (let at = 0; at < out.length; at += 4) {
      const grey = ((pixels[at] * 256 + pixels[at + 1]) / 65535 - low) * scale;
      out[at] = out[at + 1] = out[at + 2] = grey; // clamped by the array
      out[at + 3] = 255;
    }
  image.getContext("2d").putImageData(data, 0, 0);
}

// --- where the image lies: `place` is { zoom, x, y } in CSS pixels, null where it fits

function fitted() {
  const zoom = Math.min(stage.clientWidth / open.width, stage.clientHeight / open.height) || 1;
  return { zoom, x: (stage.clientWidth - open.width * zoom) / 2, y: (stage.clientHeight - open.height * zoom) / 2 };
}
const now = () => place ?? fitted();

function zoomBy(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  if (!open) return;
  const before = now(), least = fitted().zoom;
  const zoom = Math.min(Math.max(before.zoom * factor, least), Math.max(MAX_ZOOM, least));
  place = zoom === least ? null : { zoom, x: x - ((x - before.x) * zoom) / before.zoom, y: y - ((y - before.y) * zoom) / before.zoom };
  if (place) keepInSight();
  draw();
}

function moveBy(x, y) {
  if (!open || !place) return;
  place = { ...place, x: place.x + x, y: place.y + y };
  keepInSight();
  draw();
}

function keepInSight() {
  for (const [side, size, length] of [["x", stage.clientWidth, open.width], ["y", stage.clientHeight, open.height]]) {
    const long = length * place.zoom;
    place[side] = long <= size ? (size - long) / 2 : Math.min(Math.max(place[side], size - long), 0);
  }
}

// --- drawing: at most once a frame

function draw() {
  if (dirty || !open || !settings) return;
  dirty = true;
  requestAnimationFrame(() => {
    dirty = false;
    if (!stage.clientWidth) return; // another tab is open
    drawBase();
    drawOver();
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
const isByGlass = () => Boolean(glass && open.isOnGlass && view in HEATS && !isEditing());

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
  const { blend: how, weights, threshold } = settings, { ready } = open;
  ready.forEach((label, k) => {
    if (label.isBent) label.field.set(label.certain);
    if (exact?.field.length) fill(label, exact.field[k]);
  });
  if (!exact?.field.length && canBlend(how)) blendAll(ready, how, weights);
  if (!exact && ready.isJoint) exclude(ready, threshold);
  return ready.map((label, k) => {
    label.isBent = Boolean(exact);
    return exact ? bend(label, exact.masks[k >> 3], k & 7, threshold) : label.cells;
  });
}

function shapes() {
  const cells = once("fields", fields), { ready, width, height } = open;
  return ready.map(({ field }, k) => outlines(field, cells[k], width, height, settings.threshold));
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
    return legend([...drawDrawing(context), ["#ffffff", "the ensemble's mask"]]);
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
    drawn.push([colour, name]);
  }
  if (!hasTruth()) return drawn;
  open.labels.forEach((_, k) => isShown(k) && stroke(context, pathOf(truthLines(k)), "#ffffff", [2, 4]));
  return [...drawn, ["#ffffff", "truth"]];
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
    return alone.map((label) => outlines(label.field, label.cells, width, height, settings.threshold));
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

// --- colours and legend

// For each label the colour that is farthest from the image around its mask and from the labels before it.
function chooseColours() {
  if (!open || !exact) return [];
  const around = sample(), chosen = [];
  open.labels.forEach((_, k) => {
    const taken = chosen.map(rgb);
    const worth = LABEL_COLOURS.map((colour, n) => {
      const far = around.reduce((sum, pixel) => sum + distance(rgb(colour), pixel), 0) / around.length;
      const apart = Math.min(400, ...taken.map((other) => distance(rgb(colour), other)));
      return (n === 0 ? 40 : 0) + far + 2 * Math.min(apart, 120);
    });
    chosen.push(LABEL_COLOURS[worth.indexOf(Math.max(...worth))]);
  });
  return chosen;
}

// Some pixels of the image where a mask is or may be; all over it where there is none.
function sample() {
  const { width, height } = open, pixels = image.getContext("2d").getImageData(0, 0, width, height).data, all = [], near = [];
  for (let at = 0; at < width * height; at += 97) {
    const pixel = [pixels[4 * at], pixels[4 * at + 1], pixels[4 * at + 2]];
    all.push(pixel);
    if (exact.masks.some((mask) => mask[at])) near.push(pixel);
  }
  return near.length > 10 ? near : all;
}

const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);

const SCALES = { probability: ["0 %", "100 % sure"], differ: ["models agree", "opposite"], unsure: ["sure", "undecided"] };
let written = "";
function legend(entries) {
  const key = JSON.stringify([entries, view, colours]);
  if (key === written) return;
  written = key;
  $(".legend").replaceChildren(...entries.map(([colour, name, label]) => (colour ? swatch(colour, name, label) : bar(...SCALES[name]))));
}

function swatch(colour, name, label) {
  const choosable = label !== undefined;
  const entry = document.createElement(choosable ? "button" : "span"), mark = document.createElement("i");
  mark.style.background = colour;
  entry.append(mark, name);
  if (!choosable) return entry;
  entry.type = "button";
  entry.title = "Another colour";
  entry.addEventListener("click", () => {
    colours[label] = LABEL_COLOURS[(LABEL_COLOURS.indexOf(colour) + 1) % LABEL_COLOURS.length];
    draw();
  });
  return entry;
}

function bar(low, high) {
  const entry = document.createElement("span"), scale = document.createElement("i");
  scale.className = "scale";
  entry.append(low, scale, high + " · white line: the mask");
  return entry;
}

// --- what the visitor does

function choose(name) {
  if (name === "errors" && !canErr()) return;
  if (pen.tool && !SHOW_IT.includes(name)) take("");
  view = name;
  room.dataset.view = name;
  element.querySelectorAll(".views button").forEach((button) => button.setAttribute("aria-pressed", button.dataset.view === name));
  draw();
}

function compare(share) {
  split = share;
  line.hidden = share === null;
  line.style.left = (share ?? 0) * 100 + "%";
  $("[data-do=compare]").setAttribute("aria-pressed", share !== null);
  draw();
}

const ACTIONS = {
  in: () => zoomBy(STEP),
  out: () => zoomBy(1 / STEP),
  fit: () => ((place = null), (level = [0, 1]), open && paintImage(), (painted = ""), draw()),
  full: () => (document.fullscreenElement ? document.exitFullscreen() : document.querySelector("#work").requestFullscreen()),
  compare: () => compare(split === null ? 0.5 : null),
  copy: () => copy(),
};

room.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-view], button[data-do]");
  if (button?.dataset.view) choose(button.dataset.view);
  else if (button) ACTIONS[button.dataset.do]();
});

const VIEWS = ["mask", "models", "probability", "differ", "unsure", "none", "errors"];
const isTyping = (target) => target.closest("input:not([type=range]), textarea, select, [contenteditable], [role=dialog]");
const KEYS = {
  "+": ACTIONS.in, "=": ACTIONS.in, "-": ACTIONS.out, 0: ACTIONS.fit, f: ACTIONS.full,
  "[": () => turn(-0.01), "]": () => turn(0.01),
};
const turn = (by) => document.dispatchEvent(new CustomEvent("medseg:cut-off", { detail: by }));

function onKey(event) {
  if (!stage.clientWidth || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (event.key === " " && !event.target.closest("button, a, summary")) {
    hidden = event.type === "keydown";
    event.preventDefault();
    draw();
  } else if (event.type === "keydown" && VIEWS[event.key - 1]) choose(VIEWS[event.key - 1]);
  else if (event.type === "keydown") (toolKey(event.key) ?? KEYS[event.key])?.();
}

const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
stage.addEventListener("keydown", (event) => {
  const arrow = ARROWS[event.key];
  if (!arrow || event.target.closest("button:not(.grip)")) return;
  event.preventDefault();
  if (event.target.closest(".grip")) compare(Math.min(Math.max(split - arrow[0] * 0.02, 0), 1));
  else if (place) moveBy(arrow[0] * 40, arrow[1] * 40);
  else if (!isEditing()) document.dispatchEvent(new CustomEvent("medseg:frame", { detail: -(arrow[0] + arrow[1]) }));
});

const at = (event) => {
  const box = stage.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomBy(STEP ** Math.max(-3, Math.min(3, -event.deltaY / 100)), ...at(event));
}, { passive: false });
stage.addEventListener("contextmenu", (event) => event.preventDefault());
stage.addEventListener("dblclick", (event) => event.target.closest("button") || pen.tool || ACTIONS.fit());

// One pointer pans, the right button or W sets the window, two pinch.
const pointers = new Map();
let gesture = "", isW = false;
stage.addEventListener("pointerdown", (event) => {
  if (event.target.closest(".tools")) return;
  pointers.set(event.pointerId, at(event));
  stage.setPointerCapture(event.pointerId);
  if (gesture === "pen") lift(false); // a second finger: what the first began was no stroke
  const isPen = pen.tool && event.button === 0 && pointers.size === 1;
  gesture = event.target.closest(".grip, .line") ? "compare" : event.button === 2 || isW ? "window" : isPen ? "pen" : "pan";
  if (gesture === "pen") press(at(event));
});
stage.addEventListener("pointermove", (event) => {
  reading(at(event));
  hover(at(event));
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const after = at(event), [dx, dy] = [after[0] - before[0], after[1] - before[1]];
  if (pointers.size === 2) pinch(event.pointerId, before, after);
  else if (gesture === "compare") compare(Math.min(Math.max(after[0] / stage.clientWidth, 0), 1));
  else if (gesture === "window") windowBy(dx, dy);
  else if (gesture === "pen") event.getCoalescedEvents().forEach((part) => pull(at(part)));
  else moveBy(dx, dy);
  pointers.set(event.pointerId, after);
});
for (const name of ["pointerup", "pointercancel"])
  stage.addEventListener(name, (event) => {
    if (gesture === "pen" && pointers.has(event.pointerId)) lift(name === "pointerup");
    pointers.delete(event.pointerId);
    gesture = "";
  });

function pinch(id, before, after) {
  const [other] = [...pointers].filter(([key]) => key !== id).map(([, where]) => where);
  const apart = (where) => Math.hypot(where[0] - other[0], where[1] - other[1]) || 1;
  zoomBy(apart(after) / apart(before), (after[0] + other[0]) / 2, (after[1] + other[1]) / 2);
  moveBy((after[0] - before[0]) / 2, (after[1] - before[1]) / 2);
}

// To the right narrower, upwards brighter, as on a reading station. It changes what is seen, not what the models see.
function windowBy(dx, dy) {
  if (!open?.image.deep) return;
  const width = Math.min(Math.max((level[1] - level[0]) * 2 ** (-dx / 150), 0.002), 4);
  const centre = (level[0] + level[1]) / 2 + (dy / 300) * width;
  level = [centre - width / 2, centre + width / 2];
  paintImage();
  draw();
}

function reading([x, y]) {
  if (!open) return;
  const { zoom, x: left, y: top } = now(), column = Math.floor((x - left) / zoom), row = Math.floor((y - top) / zoom);
  const inside = column >= 0 && row >= 0 && column < open.width && row < open.height;
  if (inside) once("fields", fields); // WebGL2 leaves them out
  const shares = inside && open.ready.map((label) => Math.round(100 * label.field[(row + 1) * (open.width + 2) + column + 1]) + " %");
  $(".reading").textContent = inside ? column + ", " + row + ": " + shares.join(" / ") : "";
}

// What is seen, with its legend and the notice, as a PNG in the clipboard; as a file where there is none.
async function copy() {
  if (!open) return;
  const height = stage.clientHeight, sheet = new OffscreenCanvas(stage.clientWidth, height + 44), context = sheet.getContext("2d");
  context.fillStyle = "#0b0f14";
  context.fillRect(0, 0, sheet.width, sheet.height);
  context.drawImage(base, 0, 0, stage.clientWidth, height);
  if (split !== null) context.rect(split * stage.clientWidth, 0, stage.clientWidth, height), context.clip();
  if (!pane.hidden) drawGlass(), context.drawImage(pane, 0, 0, stage.clientWidth, height); // it lasts as long as this task
  context.drawImage(over, 0, 0, stage.clientWidth, height);
  const caption = new OffscreenCanvas(sheet.width, 44), words = caption.getContext("2d");
  drawCaption(words, sheet.width);
  const whole = new OffscreenCanvas(sheet.width, sheet.height), last = whole.getContext("2d");
  last.drawImage(sheet, 0, 0);
  last.drawImage(caption, 0, height);
  const blob = await whole.convertToBlob({ type: "image/png" });
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
    say("Copied.");
  } catch {
    Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: "medseg-view.png" }).click();
    say("Saved, as this browser gives no access to the clipboard.");
  }
}

function drawCaption(context, width) {
  context.fillStyle = "#0b0f14";
  context.fillRect(0, 0, width, 44);
  context.font = "13px system-ui, sans-serif";
  let x = 10;
  for (const entry of $(".legend").children) {
    context.fillStyle = entry.querySelector("i").style.background || "#35b779";
    context.fillRect(x, 12, 18, 4);
    context.fillStyle = "#d5dde6";
    context.fillText(entry.textContent, x + 24, 19);
    x += 40 + context.measureText(entry.textContent).width;
  }
  context.fillStyle = "#9aa8b8";
  context.fillText("medseg · research use only, not for diagnosis" + (store.doubt ? " · " + store.doubt : ""), 10, 37);
}

let silence = 0;
function say(words, ms = 3000) {
  const reading = $(".reading");
  reading.textContent = words;
  reading.classList.add("said");
  clearTimeout(silence);
  silence = setTimeout(() => ((reading.textContent = ""), reading.classList.remove("said")), ms);
}

// --- from the other scripts of the page

function onSettings(event) {
  if (!open) return;
  settings = { ...settings, ...event.detail };
  worked = {};
  const isLookOnly = Object.keys(event.detail).every((key) => key === "opacity" || key === "hidden");
  if (!isLookOnly && canBlend(settings.blend)) exact = null; // the library's masks are of other settings
  if (!isLookOnly && store.drawing) store.drawing.counted = null;
  draw();
}

// Listeners on the document outlive this element, which Gradio may draw anew: the newest element's are the only ones.
store.stop?.abort();
store.stop = new AbortController();
const { signal } = store.stop;
document.addEventListener("medseg:settings", onSettings, { signal });
document.addEventListener("keydown", onKey, { signal });
document.addEventListener("keyup", onKey, { signal });
document.addEventListener("keydown", (event) => (isW ||= event.key === "w" && !isTyping(event.target)), { signal });
document.addEventListener("keyup", (event) => (isW &&= event.key !== "w"), { signal });
new ResizeObserver(() => ((painted = ""), place && open && keepInSight(), draw())).observe(stage);
document.addEventListener("fullscreenchange", () => ((painted = ""), draw()), { signal });
store.look = () => ({ way: glass ? "webgl" : "2d", open, exact, settings, view, place: open && now(), level, colours });
watch("value", () => receive(props.value));
receive(props.value);
