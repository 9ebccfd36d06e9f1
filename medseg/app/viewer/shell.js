// What concerns the whole window: opening by button, drop and paste, the name of the file, what is old, the network.

const $ = (selector) => document.querySelector(selector);

// The field that Gradio uploads from. It is hidden: the button, the whole window and the clipboard lead to it.
const field = () => $("#upload input[type=file]");
element.querySelector(".open").addEventListener("click", () => field()?.click());

function give(files) {
  if (!files.length || !field()) return;
  const transfer = new DataTransfer();
  for (const file of files) transfer.items.add(file);
  field().files = transfer.files;
  field().dispatchEvent(new Event("change", { bubbles: true }));
}

// A drop belongs to the field under it, where there is one: the truth, the batch.
const isFree = (event) => event.dataTransfer?.types.includes("Files") && $("#work")?.clientWidth && !event.target.closest(".takes-drops, #truth");
const target = element.querySelector(".drop-here");

store.shell?.abort();
store.shell = new AbortController();
const on = (where, name, act) => where.addEventListener(name, act, { signal: store.shell.signal });
on(window, "dragover", (event) => { if (isFree(event)) { event.preventDefault(); target.hidden = false; } });
on(window, "dragleave", (event) => { if (!event.relatedTarget) target.hidden = true; });
on(window, "drop", (event) => {
  target.hidden = true;
  if (!isFree(event)) return;
  event.preventDefault();
  give(event.dataTransfer.files);
});
on(window, "paste", (event) => { if ($("#work")?.clientWidth) give(event.clipboardData?.files ?? []); });

// --- the name beside the image is of the image that is shown, whatever is on its way

on(document, "medseg:opened", ({ detail: { name, own: [height, width], image } }) => {
  $("#file-name").textContent = $("#file-name").title = store.named(name || "Image");
  $("#file-size").textContent = width + " × " + height + " px" + (image.deep ? ", grey" : ", colour");
});

// --- what is old looks so, until the viewer shows the new result or the run has ended without one; numbers of another
// image, which come before it is drawn, are not seen beside this one

function old(isOld, isOther = false) {
  $("#work")?.classList.toggle("waiting", isOld);
  $("#work")?.classList.toggle("arriving", isOther);
}
on(document, "medseg:waiting", () => $("#work")?.classList.add("waiting")); // another image may be arriving meanwhile
on(document, "medseg:shown", () => old(false));
on(document, "medseg:done", ({ detail: value }) => {
  const isComing = Boolean(value?.result && store.isShown && !store.isShown(value));
  old(isComing, isComing && value.token !== store.look().open?.token);
});

const offline = element.querySelector(".offline");
on(window, "offline", () => (offline.hidden = false));
on(window, "online", () => (offline.hidden = true));
offline.hidden = navigator.onLine;

// --- strokes that are in no file yet: the browser asks before they are left

on(window, "beforeunload", (event) => store.unsaved?.() && event.preventDefault());

// For another image, too, or another frame.
const LEAVING = { click: "#examples button, .batch [data-row]", change: "#upload input", input: "#frame input" };
for (const [name, places] of Object.entries(LEAVING)) window.addEventListener(name, (event) => {
  if (!store.unsaved?.() || !event.target.closest?.(places)) return;
  if (confirm("What you drew is in no file yet: “Training pair” saves it. Leave it behind?")) return void store.leave();
  event.stopImmediatePropagation();
  event.preventDefault();
  if (name === "change") event.target.value = ""; // the same file may be chosen again
  if (name === "input") event.target.value = [...document.querySelectorAll("#frame input")].find((other) => other !== event.target).value;
}, { capture: true, signal: store.shell.signal });

// --- the sheets of a phone: one part of the page under the image at a time

on(document, "click", (event) => {
  const tab = event.target.closest("#sheets button");
  if (!tab) return;
  $("#work").dataset.sheet = tab.dataset.sheet;
  document.querySelectorAll("#sheets button").forEach((other) => other.setAttribute("aria-pressed", other === tab));
});

// --- a slider of frames follows the arrows of the viewer

on(document, "medseg:frame", ({ detail }) => {
  const slider = $("#frame input[type=range]");
  if (!slider) return;
  slider.value = Number(slider.value) + detail;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
});

// --- what Gradio leaves unnamed: a field's button is named by its own words, a wide table can be scrolled by keys

function name() {
  document.querySelectorAll(".upload-container[aria-label]:not(.icon-mode)").forEach((button) => button.removeAttribute("aria-label"));
  document.querySelectorAll("#batch-files td.filename span, #contents [role=option], #notes li, .toast-body *").forEach((place) => {
    for (const part of place.childNodes) if (part.nodeType === 3 && part.data.includes(store.mark)) part.data = store.named(part.data);
  });
  document.querySelectorAll(".toast-title").forEach(({ firstChild: text }) => /^(Warning|Error) *$/.test(text?.data) && (text.data = "Not done ")); // as TITLE of events.py
  document.querySelectorAll("#batch-files td.filename").forEach((cell) => cell.ariaLabel?.includes(store.mark) && (cell.ariaLabel = store.named(cell.ariaLabel)));
  document.querySelectorAll("[aria-label='common.upload']").forEach((button) => (button.ariaLabel = button.title = "Add files"));
  document.querySelectorAll("#batch-files a[download]").forEach((link) => link.download.includes(store.mark) && (link.download = store.named(link.download)));
  document.querySelectorAll("#contents input").forEach((input) => input.value.includes(store.mark) && (input.value = store.named(input.value)));
  document.querySelectorAll("#scores:not([tabindex])").forEach((table) => {
    table.tabIndex = 0;
    table.setAttribute("role", "region");
    table.setAttribute("aria-label", "Scores");
  });
}
store.namer?.disconnect();
store.namer = new MutationObserver(() => requestAnimationFrame(name));
store.namer.observe(document.body, { childList: true, subtree: true });
name();
