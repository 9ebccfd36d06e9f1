// Drawing in the viewer: tools, their bar and keys, the error map, and what the library counts of it. The drawing is
// `store.drawing`, of draw.js: it outlives this element, and Python's token says whether it is of the image shown.

const pens = $(".pens"), ring = $(".ring"), paper = new OffscreenCanvas(1, 1);
const ERRORS = [["#56b4e9", "hit"], ["#f0e442", "false alarm"], ["#d55e00", "miss"]]; // as in medseg/overlay.py
const pen = { tool: "", size: 16, last: null, points: [], at: null };
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
  if (tool && !SHOW_IT.includes(view)) choose("mask");
  pen.tool = tool;
  pen.points = [];
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
  },
  undo: () => turnBack(undo),
  redo: () => turnBack(redo),
  pair: () => {
    const { token, revision } = store.drawing;
    trigger("pair", { token, strokes: strokesOf(store.drawing) });
    store.drawing.saved = revision;
  },
  discard: () => {
    store.drawing.saved = store.drawing.revision; // by its own button: nothing was lost
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
  if (pen.at) hover(pen.at);
}

// --- keys, where they mean something else than without tools

const TOOL_KEYS = { b: "brush", e: "eraser", p: "polygon", v: "" };
function toolKey(key) {
  if (key === "b" && pens.hidden && open) return ACTIONS.pens;
  if (!isEditing()) return undefined;
  const keys = { Escape: () => (pen.points.length ? take(pen.tool) : take("")), Enter: closePolygon, Backspace: () => (pen.points.pop(), draw()) };
  if (pen.tool === "brush" || pen.tool === "eraser")
    Object.assign(keys, { "[": () => resize(Math.min(pen.size / 1.2, pen.size - 1)), "]": () => resize(Math.max(pen.size * 1.2, pen.size + 1)) });
  return key in TOOL_KEYS ? () => take(TOOL_KEYS[key]) : keys[key];
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

const strokeValue = () => (pen.tool === "eraser" ? 2 : 1);

function press(where) {
  if (!isEditing()) return;
  pen.last = inImage(where);
  if (pen.tool === "polygon") return;
  beginStroke(store.drawing);
  pull(where);
}

function pull(where) {
  if (!store.drawing?.before) return;
  const next = inImage(where);
  markLine(store.drawing, pen.last, next, pen.size, strokeValue());
  paste(boxOf(pen.last, next));
  pen.last = next;
  draw();
}

// The pointer is up: the stroke stands, unless a second finger has made a pinch of it.
function lift(isMeant) {
  if (!isEditing()) return;
  if (pen.tool === "polygon") return void (isMeant && addPolygonPoint(pen.last));
  if (!store.drawing.before) return;
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
  markPolygon(store.drawing, pen.points, 1);
  endStroke(store.drawing);
  pen.points = [];
  changed();
}
stage.addEventListener("dblclick", closePolygon);

function boxOf(a, b) {
  const reach = pen.size / 2 + 2;
  return [Math.min(a[0], b[0]) - reach, Math.min(a[1], b[1]) - reach, Math.max(a[0], b[0]) + reach, Math.max(a[1], b[1]) + reach];
}

// The ring under the pointer is as large as the brush.
function hover(where) {
  pen.at = where;
  const isBrush = isEditing() && (pen.tool === "brush" || pen.tool === "eraser");
  ring.hidden = !isBrush;
  if (isBrush) Object.assign(ring.style, { width: pen.size * now().zoom + "px", height: pen.size * now().zoom + "px", translate: where.map((place) => place + "px").join(" ") });
  if (pen.points.length) draw();
}
stage.addEventListener("pointerleave", () => (ring.hidden = true));

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
