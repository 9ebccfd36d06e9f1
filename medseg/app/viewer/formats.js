// A button that saves the mask, and a list of the other kinds of files. A kind that the image cannot have stays in the
// list, with the reason, and does nothing. The list is a popover: the browser closes it at Escape and at a click elsewhere.

const $ = (selector) => element.querySelector(selector);
const main = $(".main"), more = $(".more"), menu = $(".menu");
const FIRST = "mask";
let last = ""; // the kind that was saved last stands first

function receive(kinds) {
  if (!kinds?.length) return;
  main.disabled = Boolean(kinds.find(({ kind }) => kind === FIRST).reason);
  main.title = kinds.find(({ kind }) => kind === FIRST).reason;
  menu.replaceChildren(...[...kinds].sort((a, b) => (b.kind === last) - (a.kind === last)).map(itemOf));
}

function itemOf({ kind, label, line, reason }) {
  const item = document.createElement("button"), words = document.createElement("small");
  Object.assign(item, { type: "button", tabIndex: -1, textContent: label });
  item.setAttribute("role", "menuitem");
  item.setAttribute("aria-disabled", Boolean(reason));
  words.textContent = reason || line;
  item.append(words);
  item.addEventListener("click", () => reason || (save(kind), (last = kind), menu.prepend(item)));
  return item;
}

async function save(kind) {
  menu.hidePopover();
  main.textContent = "Writing the file …";
  element.ariaBusy = "true";
  await window.medseg.settled?.();
  trigger("save", { kind });
}
main.addEventListener("click", () => save(FIRST));

// Below the button where there is room, else above it.
menu.addEventListener("toggle", ({ newState }) => {
  const isOpen = newState === "open";
  more.setAttribute("aria-expanded", isOpen);
  if (!isOpen) return;
  const box = $(".split").getBoundingClientRect(), below = innerHeight - box.bottom - 12;
  const height = Math.min(menu.scrollHeight + 4, Math.max(below, box.top - 12));
  Object.assign(menu.style, { left: Math.max(8, box.right - menu.offsetWidth) + "px", maxHeight: height + "px", top: (below >= height ? box.bottom + 4 : box.top - height - 4) + "px" });
  menu.firstElementChild?.focus();
});

const STEPS = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };
menu.addEventListener("keydown", (event) => {
  const step = STEPS[event.key], items = [...menu.children];
  if (event.key === "Tab") menu.hidePopover();
  if (!step) return;
  event.preventDefault();
  items[Math.min(Math.max(items.indexOf(document.activeElement) + step, 0), items.length - 1)].focus();
});
more.addEventListener("keydown", (event) => event.key === "ArrowDown" && (event.preventDefault(), menu.showPopover()));

const store = (window.medseg ??= {});
store.formats?.abort();
store.formats = new AbortController();
document.addEventListener("medseg:written", () => {
  main.textContent = "Download mask";
  element.ariaBusy = null;
}, { signal: store.formats.signal });
watch("value", () => receive(props.value));
receive(props.value);
