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

// --- drawing it

// The outlines of the truth; kept until it changes.
function truthLines(k) {
  const { drawing } = store, key = [over.dataset.result, drawing?.token, drawing?.revision].join();
  if (traced.key !== key) traced = { key };
  return (traced[k] ??= outlinesOf(truthOf(k)));
}

function drawDrawing(context) {
  drawPaper(context);
  const { drawing } = store;
  open.labels.forEach((_, k) => isShown(k) && !drawing.before && stroke(context, pathOf(truthLines(k)), colours[k]));
  readout();
  return open.labels.map((name, k) => [colours[k], "drawn: " + name, k]).filter((_, k) => isShown(k));
}

function drawErrors(context) {
  drawPaper(context);
  drawShapes(context, "#ffffff");
  const { width, height } = open, sums = [0, 0, 0];
  let last = null;
  open.ready.forEach((label, k) => {
    if (!isShown(k)) return;
    last = confusion(label.field, settings.threshold, truthOf(k), width, height);
    [last.tp, last.fp, last.fn].forEach((count, n) => (sums[n] += count));
  });
  const words = !isEditing() && open.labels.filter((_, k) => isShown(k)).length === 1 ? [["#ffffff", overlapWords(last)]] : [];
  legend([...ERRORS.map(([colour, name], n) => [colour, name + " " + sums[n].toLocaleString("en") + " px"]), ...words]);
  if (isEditing()) readout();
}

const overlapWords = ({ dice, iou }) => "Dice " + dice.toFixed(3) + " · IoU " + iou.toFixed(3);

// What is drawn, or where the mask errs, as a layer of the image's own pixels.
function drawPaper(context) {
  const { zoom, x, y } = now(), key = [over.dataset.result, view, store.drawing?.token, settings.threshold, settings.hidden, settings.opacity, colours, view === "errors" && (worked.number ??= Math.random())].join();
  if (pasted !== key) pasted = key, paste([0, 0, open.width, open.height], true);
  context.imageSmoothingEnabled = false;
  context.drawImage(paper, x, y, open.width * zoom, open.height * zoom);
}

function paste(box, isWhole = false) {
  const { width, height } = open;
  if (isWhole && (sheet?.width !== width || sheet.height !== height)) {
    Object.assign(paper, { width, height });
    sheet = new ImageData(width, height);
  }
  if (!sheet || sheet.width !== width) return;
  const [x0, y0] = box.slice(0, 2).map((at) => Math.max(Math.floor(at), 0));
  const x1 = Math.min(Math.ceil(box[2]), width), y1 = Math.min(Math.ceil(box[3]), height);
  if (x0 >= x1 || y0 >= y1) return;
  const words = new Uint32Array(sheet.data.buffer), isErrors = view === "errors", shown = [];
  open.labels.forEach((_, k) => isShown(k) && shown.push([truthOf(k), open.ready[k].field, k]));
  const inks = (isErrors ? ERRORS.map(([colour]) => [colour, 0.5]) : colours.map((colour) => [colour, settings.opacity ?? 0.3])).map(ink);
  for (let y = y0; y < y1; y++)
    for (let x = x0, at = y * width + x0, rim = (y + 1) * (width + 2) + x0 + 1; x < x1; x++, at++, rim++) {
      let word = 0, worst = -1;
      for (const [plane, field, k] of shown) {
        if (!isErrors) word = plane[at] ? inks[k] : word;
        else if (plane[at]) worst = Math.max(worst, field[rim] >= settings.threshold ? 0 : 2);
        else if (field[rim] >= settings.threshold) worst = Math.max(worst, 1);
      }
      words[at] = worst < 0 ? word : inks[worst];
    }
  paper.getContext("2d").putImageData(sheet, 0, 0, x0, y0, x1 - x0, y1 - y0);
}

// A colour as a word of ImageData, which every machine that runs a browser today keeps with its low byte first.
function ink([colour, opacity]) {
  const [red, green, blue] = rgb(colour);
  return ((Math.round(opacity * 255) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

function drawPolygon(context) {
  if (!pen.points.length) return;
  const { zoom, x, y } = now(), path = new Path2D(), places = pen.points.map(([column, row]) => [column * zoom + x, row * zoom + y]);
  for (const place of [...places, ...(pen.at ? [pen.at] : [])]) path.lineTo(...place);
  stroke(context, path, "#ffffff");
  context.fillStyle = "#ffffff";
  for (const [column, row] of places) context.fillRect(column - 3, row - 3, 6, 6);
}

// The scores of the mask against the drawing: the browser's own at once, the library's as soon as they are there.
function readout() {
  const { drawing } = store, { label, counted: sure } = drawing;
  const now = sure?.[label] ?? { ...confusion(open.ready[label].field, settings.threshold, drawing.now[label], open.width, open.height), ...changesOf(drawing) };
  const px = (count) => count.toLocaleString("en");
  $(".scores").textContent = (withheld ? "" : overlapWords(now) + " · ") + "+" + px(now.added) + " −" + px(now.removed) + " px";
  $(".scores").dataset.by = sure ? "library" : "browser";
  $(".scores").title = (withheld ? "" : "The ensemble's mask against the drawing. ") + "Since it was begun with " + drawing.beginning + ": " + px(now.before) + " px then, "
    + px(now.after) + " px now, Dice " + now.same.toFixed(3) + ". " + (sure ? "Counted by the library on the image's own grid." : "Counted here, on the grid of the screen.");
}
