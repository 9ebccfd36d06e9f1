// Drawing in the viewer: tools, their bar and keys, the error map, and what the library counts of it. The drawing is
// `store.drawing`, of draw.js: it outlives this element, and Python's token says whether it is of the image shown.

const pens = $(".pens"), ring = $(".ring"), paper = new OffscreenCanvas(1, 1);
const ERRORS = [["#56b4e9", "hit"], ["#f0e442", "false alarm"], ["#d55e00", "miss"]]; // as in medseg/overlay.py
// `at` is where the pointer is on the stage, `spot` where the cursor of the keys is in the image; `path` is not marked yet.
const pen = { tool: "", size: 16, last: null, points: [], path: [], at: null, spot: null };
let sheet = null, pasted = "", traced = { key: "" };

const isEditing = () => Boolean(store.drawing && !pens.hidden);
const hasTruth = () => Boolean(store.drawing || truth.length);
const canErr = () => hasTruth() && !withheld; // a mask that is withheld has no errors to show either
const truthOf = (k) => store.drawing?.now[k] ?? maskOf(truth, k);

function startDrawing({ token, beginning }, planes) {
  const base = open.labels.map((_, k) => maskOf(planes, k));
  store.drawing = newDrawing({ token, beginning }, base, open.width, open.height, open.task === "multiclass");
  pens.hidden = false;
  if (view !== "errors") choose("mask");
  take("brush");
  if (pens.contains(document.activeElement)) toStage(); // the button that began it goes
}

function endDrawing() {
  const isLost = store.unsaved?.();
  store.drawing = null;
  pens.hidden = true;
  take("");
  offerTools();
  if (isLost) say("The drawing went with its image.", 8000);
}

// Strokes that are in no file yet: the browser asks before they are left.
store.leave = () => (store.drawing.saved = store.drawing.revision);
store.unsaved = () => Boolean(store.drawing && store.drawing.revision !== (store.drawing.saved ?? 0));

// --- the bar

function offerTools() {
  const { drawing } = store;
  $("[data-view=errors]").hidden = !canErr();
  if (!isEditing()) $(".scores").textContent = "";
  if (view === "errors" && !canErr()) choose("mask");
  $("[data-do=pens]").setAttribute("aria-pressed", !pens.hidden);
  $(".begin").hidden = Boolean(drawing);
  $(".drawing").hidden = !drawing;
  $("[data-begin=ensemble]").hidden = withheld;
  $("[data-begin=truth]").hidden = !truth.length;
  if (!drawing) return;
  const list = $(".label"), names = open.labels.map((name, k) => new Option(name, k, false, k === drawing.label));
  if (list.options.length !== names.length || [...list.options].some(({ text }, k) => text !== names[k].text)) list.replaceChildren(...names);
  list.hidden = names.length < 2;
  $("[data-do=undo]").disabled = !drawing.done.length;
  $("[data-do=redo]").disabled = !drawing.undone.length;
  $(".size").value = pen.size;
}

const SHOW_IT = ["mask", "errors"]; // the views that show a drawing
function take(tool) {
  if (store.drawing?.before) lift(true);
  if (tool && !SHOW_IT.includes(view)) choose("mask");
  pen.tool = tool;
  pen.points = [];
  pen.path = [];
  if (!tool) pen.spot = null;
  stage.dataset.tool = tool;
  ring.hidden = true;
  element.querySelectorAll("[data-tool]:not(.stage)").forEach((button) => button.setAttribute("aria-pressed", button.dataset.tool === tool));
  draw();
}

Object.assign(ACTIONS, {
  pens: () => {
    pens.hidden = !pens.hidden;
    take(pens.hidden ? "" : "brush");
    offerTools();
    if (!pens.hidden && !store.drawing) $(".begin button:not([hidden])").focus();
  },
  undo: () => turnBack(undo),
  redo: () => turnBack(redo),
  pair: () => {
    const { token, revision } = store.drawing;
    trigger("pair", { token, strokes: strokesOf(store.drawing) });
    store.drawing.saved = revision;
  },
  discard: () => {
    store.leave(); // by its own button: nothing was lost
    trigger("discard", {});
  },
});
pens.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.begin) trigger("begin", { beginning: button.dataset.begin });
  else if (button?.dataset.tool !== undefined) take(button.dataset.tool);
});
$(".label").addEventListener("change", (event) => {
  store.drawing.label = Number(event.target.value);
  pen.points = [];
  draw();
});
$(".size").addEventListener("input", (event) => resize(Number(event.target.value)));
document.addEventListener("medseg:draw", () => {
  if (!open) return;
  if (pens.hidden) ACTIONS.pens();
  room.scrollIntoView({ block: "nearest" });
}, { signal });

function resize(size) {
  pen.size = $(".size").value = Math.min(Math.max(Math.round(size), 1), 200);
  placeRing();
}

// --- keys, where they mean something else than without tools

const TOOL_KEYS = { b: "brush", e: "eraser", p: "polygon", x: "cut", v: "" };
const isPolygon = () => pen.tool === "polygon" || pen.tool === "cut";
const isBrush = () => pen.tool === "brush" || pen.tool === "eraser";

function toolKey(key) {
  if (key === "b" && pens.hidden && open) return ACTIONS.pens;
  if (!isEditing()) return undefined;
  const keys = { Escape: () => (pen.points.length ? take(pen.tool) : take("")), Enter: closePolygon, Backspace: () => (pen.points.pop(), draw()) };
  if (isBrush())
    Object.assign(keys, { "[": () => resize(Math.min(pen.size / 1.2, pen.size - 1)), "]": () => resize(Math.max(pen.size * 1.2, pen.size + 1)) });
  return key in TOOL_KEYS ? () => (take(TOOL_KEYS[key]), toStage()) : keys[key];
}

document.addEventListener("keydown", (event) => {
  if (!isEditing() || !(event.ctrlKey || event.metaKey) || isTyping(event.target) || !stage.clientWidth) return;
  const act = { z: event.shiftKey ? redo : undo, y: redo }[event.key.toLowerCase()];
  if (act) event.preventDefault(), turnBack(act);
}, { signal });

function turnBack(act) {
  if (store.drawing?.before || !act(store.drawing)) return;
  changed();
}

// --- strokes; places are in pixels of the image

function inImage([x, y]) {
  const { zoom, x: left, y: top } = now();
  return [(x - left) / zoom, (y - top) / zoom];
}

const strokeValue = () => (pen.tool === "eraser" || pen.tool === "cut" ? 2 : 1);

function press(where) {
  if (!isEditing()) return;
  if (store.drawing.before) lift(true); // by keys
  pen.last = inImage(where);
  if (isPolygon()) return;
  beginStroke(store.drawing);
  pull(where);
}

function pull(where) {
  if (!store.drawing?.before) return;
  pen.path.push(inImage(where));
  draw();
}

// What was drawn since the last frame, marked and shown at once.
function inkPath() {
  if (!pen.path.length || !store.drawing?.before) return;
  const points = [pen.last, ...pen.path.splice(0)], columns = points.map(([x]) => x), rows = points.map(([, y]) => y), reach = pen.size / 2 + 2;
  for (let n = 1; n < points.length; n++) markLine(store.drawing, points[n - 1], points[n], pen.size, strokeValue());
  pen.last = points.at(-1);
  paste([Math.min(...columns) - reach, Math.min(...rows) - reach, Math.max(...columns) + reach, Math.max(...rows) + reach]);
}

// The pointer is up: the stroke stands, unless a second finger has made a pinch of it.
function lift(isMeant) {
  if (!isEditing()) return;
  if (isPolygon()) return void (isMeant && addPolygonPoint(pen.last));
  if (!store.drawing.before) return;
  inkPath();
  endStroke(store.drawing, isMeant);
  isMeant ? changed() : refreshDrawing();
}

function addPolygonPoint(point) {
  const [first] = pen.points, near = 8 / now().zoom;
  if (pen.points.length > 2 && Math.hypot(point[0] - first[0], point[1] - first[1]) < near) return closePolygon();
  pen.points.push(point);
  draw();
}

function closePolygon() {
  if (pen.points.length < 3) return;
  beginStroke(store.drawing);
  markPolygon(store.drawing, pen.points, strokeValue());
  endStroke(store.drawing);
  pen.points = [];
  changed();
}
stage.addEventListener("dblclick", closePolygon);

// The ring under the pointer is as large as the brush; under the cursor of the keys it has a cross.
function hover(where) {
  pen.at = where;
  pen.spot = null;
  placeRing();
  if (pen.points.length) draw();
}

function placeRing() {
  const { zoom, x, y } = now();
  if (pen.spot) pen.at = [pen.spot[0] * zoom + x, pen.spot[1] * zoom + y];
  ring.hidden = !isEditing() || !pen.at || !(isBrush() || pen.spot);
  if (ring.hidden) return;
  const size = (isBrush() ? pen.size * zoom : 16) + "px";
  Object.assign(ring.style, { width: size, height: size, translate: pen.at.map((place) => place + "px").join(" ") });
  ring.classList.toggle("keys", Boolean(pen.spot));
  ring.classList.toggle("down", Boolean(pen.spot && store.drawing.before));
}
stage.addEventListener("pointerleave", () => {
  if (pen.spot) return;
  pen.at = null;
  ring.hidden = true;
});

// --- by keys: arrows move a cursor, a pixel of the image at a step or ten with Shift; Space and Enter are the button

function toStage() {
  stage.focus({ preventScroll: true });
  if (pen.tool && !pen.at && stage.matches(":focus-visible")) steer([0, 0]);
}

function steer([left, up], isFar = false) {
  const { zoom, x, y } = now(), sides = [stage.clientWidth, stage.clientHeight], step = isFar ? 10 : 1;
  const from = pen.spot ?? inImage(pen.at ?? sides.map((side) => side / 2));
  const within = (place, length) => Math.min(Math.max(Math.floor(place), 0), length - 1) + 0.5; // the middle of a pixel
  pen.spot = [within(from[0] - left * step, open.width), within(from[1] - up * step, open.height)];
  const out = [pen.spot[0] * zoom + x, pen.spot[1] * zoom + y].map((at, n) => Math.min(at - 16, 0) || Math.max(at + 16 - sides[n], 0));
  if (place) moveBy(-out[0], -out[1]); // the image follows
  placeRing();
  pull(pen.at);
  draw();
}

// The key that stands for the mouse's button; false where it does not.
function tap(key) {
  if (!isEditing() || !pen.tool || (key === " " && !pen.spot) || (key === "Enter" && isPolygon())) return false;
  if (!pen.spot) steer([0, 0]);
  if (isPolygon()) addPolygonPoint(pen.spot);
  else if (store.drawing.before) lift(true);
  else press(pen.at);
  placeRing();
  return true;
}

// --- to the library and back: one message at a time, the newest strokes of all

let isCounting = false, isLateCount = false;
function changed() {
  refreshDrawing();
  store.drawing.counted = null;
  sendStrokes();
}

function sendStrokes() {
  if (isCounting) return void (isLateCount = true);
  const { drawing } = store;
  isCounting = true;
  isLateCount = false;
  trigger("strokes", { token: drawing.token, revision: drawing.revision, strokes: strokesOf(drawing) });
}
document.addEventListener("medseg:counted", () => {
  isCounting = false;
  if (isLateCount && store.drawing) sendStrokes();
}, { signal });

function counted({ token, revision, labels }) {
  if (token !== store.drawing?.token || revision !== store.drawing.revision) return;
  store.drawing.counted = labels;
  draw();
}

function refreshDrawing() {
  pasted = "";
  offerTools();
  draw();
}
