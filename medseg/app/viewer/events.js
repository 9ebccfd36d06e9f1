// What the visitor does with mouse, keys and fingers, and what the other scripts of the page say.

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
const TICKED = "[type=range], [type=checkbox], [type=radio]"; // fields that take Space and arrows alone
const isTyping = (target) => target.closest(`input:not(${TICKED}), textarea, select, [contenteditable], [role=dialog]`);
const takes = (key, target) => key === "?" && target.closest("select, [type=number], .all-keys"); // who types there types no "?"
const KEYS = {
  "+": ACTIONS.in, "=": ACTIONS.in, "-": ACTIONS.out, 0: ACTIONS.fit, f: ACTIONS.full,
  "[": () => turn(-0.01), "]": () => turn(0.01), "?": () => $(".all-keys").togglePopover(),
};
const turn = (by) => document.dispatchEvent(new CustomEvent("medseg:cut-off", { detail: by }));

function onKey(event) {
  if (!stage.clientWidth || event.ctrlKey || event.metaKey || event.altKey) return;
  if (isTyping(event.target) && !takes(event.key, event.target)) return;
  if (event.key === " " && !event.target.closest("button, a, summary, [type=checkbox], [type=radio]")) {
    hidden = event.type === "keydown";
    event.preventDefault();
    draw();
  } else if (event.type === "keydown" && VIEWS[event.key - 1]) choose(VIEWS[event.key - 1]);
  else if (event.type === "keydown") (toolKey(event.key) ?? KEYS[event.key])?.();
}

const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
stage.addEventListener("keydown", (event) => {
  const arrow = ARROWS[event.key];
  if ((event.key === " " || event.key === "Enter") && event.target === stage && (event.repeat ? pen.spot : tap(event.key))) {
    event.preventDefault();
    return event.stopPropagation(); // Space hides nothing then
  }
  if (!arrow || event.target.closest("button:not(.grip)")) return;
  event.preventDefault();
  if (event.target.closest(".grip")) compare(Math.min(Math.max(split - arrow[0] * 0.02, 0), 1));
  else if (isEditing() && pen.tool) steer(arrow, event.shiftKey);
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
  spot = at(event);
  if (open && settings) once("fields", fields); // WebGL2 leaves them out
  reading();
  if (!pen.spot || event.movementX || event.movementY) hover(at(event));
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

// The pixel under the pointer and its probabilities, of the frame that is drawn: none where they are not worked out.
let spot = null;
stage.addEventListener("pointerleave", () => ((spot = null), reading()));
function reading() {
  const place = $(".reading");
  if (!open || place.classList.contains("said")) return;
  const { zoom, x, y } = now(), column = Math.floor(((spot?.[0] ?? NaN) - x) / zoom), row = Math.floor(((spot?.[1] ?? NaN) - y) / zoom);
  const inside = column >= 0 && row >= 0 && column < open.width && row < open.height;
  const shares = () => open.ready.map((label) => Math.round(100 * label.field[(row + 1) * (open.width + 2) + column + 1]) + " %").join(" / ");
  place.textContent = inside && worked.fields ? column + ", " + row + (withheld ? "" : ": " + shares()) : "";
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
    const mark = entry.querySelector("i"), gap = { dotted: [3, 3], dashed: [7, 4] }[mark.className] ?? [18, 0];
    context.fillStyle = mark.style.background || "#35b779";
    for (let at = 0; at < 18; at += gap[0] + gap[1]) context.fillRect(x + at, 12, Math.min(gap[0], 18 - at), 4);
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
const receiveNow = () => receive(props.value).catch((error) => {
  say("The image cannot be drawn here: " + error.message, 8000);
  document.dispatchEvent(new CustomEvent("medseg:done"));
});
watch("value", receiveNow);
receiveNow();
