// How a drawing and the errors of the mask look, and the scores beside it.

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
    last = confusion(label.field, cutOffOf(k), truthOf(k), width, height);
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
  open.labels.forEach((_, k) => isShown(k) && shown.push([truthOf(k), open.ready[k].field, k, cutOffOf(k)]));
  const inks = (isErrors ? ERRORS.map(([colour]) => [colour, 0.5]) : colours.map((colour) => [colour, settings.opacity ?? 0.3])).map(ink);
  for (let y = y0; y < y1; y++)
    for (let x = x0, at = y * width + x0, rim = (y + 1) * (width + 2) + x0 + 1; x < x1; x++, at++, rim++) {
      let word = 0, worst = -1;
      for (const [plane, field, k, cutOff] of shown) {
        if (!isErrors) word = plane[at] ? inks[k] : word;
        else if (plane[at]) worst = Math.max(worst, field[rim] >= cutOff ? 0 : 2);
        else if (field[rim] >= cutOff) worst = Math.max(worst, 1);
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
  const now = sure?.[label] ?? { ...confusion(open.ready[label].field, cutOffOf(label), drawing.now[label], open.width, open.height), ...changesOf(drawing) };
  const px = (count) => count.toLocaleString("en");
  $(".scores").textContent = (withheld ? "" : overlapWords(now) + " · ") + "+" + px(now.added) + " −" + px(now.removed) + " px";
  $(".scores").dataset.by = sure ? "library" : "browser";
  $(".scores").title = (withheld ? "" : "The ensemble's mask against the drawing. ") + "Since it was begun with " + drawing.beginning + ": " + px(now.before) + " px then, "
    + px(now.after) + " px now, Dice " + now.same.toFixed(3) + ". " + (sure ? "Counted by the library on the image's own grid." : "Counted here, on the grid of the screen.");
}
