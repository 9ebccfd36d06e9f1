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

store.isShown = ({ token, number }) => token + ":" + number === over.dataset.result;

let newest = 0; // of several values on their way the last one wins
async function receive(value) {
  if (value?.counted) return open ? counted(value.counted) : trigger("again", {});
  if (!value?.result || store.isShown(value)) return;
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

// A code's upper eight bits, and its lower two out of a byte that holds those of four planes.
function codesOf(high, low, shift) {
  const codes = new Uint16Array(high.length);
  for (let at = 0; at < codes.length; at++) codes[at] = (high[at] << 2) | ((low[at] >> shift) & 3);
  return codes;
}

async function openedFrom(value) {
  const [height, width] = value.size, members = value.members.length, labels = value.labels.length;
  const count = members * labels;
  const [pixels, bytes] = await Promise.all([decode(value.image.src), unpack(value.planes, count + Math.ceil(count / 4))]);
  const planes = bytes.slice(0, count).map((high, n) => codesOf(high, bytes[count + (n >> 2)], 2 * (n & 3)));
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
  document.dispatchEvent(new CustomEvent("medseg:opened", { detail: value }));
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
      const grey = ((pixels[at] * 256 + pixels[at + out.length]) / 65535 - low) * scale; // high bytes above the low ones
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
