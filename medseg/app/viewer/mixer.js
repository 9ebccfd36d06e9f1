// The sliders. Every move goes to the viewer at once as a "medseg:settings" event; when the hand comes to rest the
// settings go to Python as one "settle" event, and the library's own mask and numbers follow.

const COLOURS = ["#22d3ee", "#facc15", "#f472b6", "#a3e635", "#fb923c", "#c4b5fd", "#f8fafc", "#34d399"];
const REST_MS = 250; // keys repeat faster than that
const LEAST = 0.01;
const $ = (selector) => element.querySelector(selector);
const store = (window.medseg ??= {});

// Listeners on the document outlive this element, which Gradio may draw anew.
store.mixer?.abort();
store.mixer = new AbortController();
const { signal } = store.mixer;

let offer = null; // what Python offers: members, labels, blends, the recommended settings
let mine = null; // the visitor's own mix, which comes back after a look at another
let set = null; // { weights: [member: [label: number]], threshold, blend, opacity, hidden, flips, least, rate }
let label = -1, mode = "recommended", timer = 0;

const copyOf = (value) => JSON.parse(JSON.stringify(value));
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const each = (weight) => (Array.isArray(weight) ? weight : offer.labels.map(() => weight));
const mean = (numbers) => numbers.reduce((a, b) => a + b, 0) / numbers.length;
const cutOff = () => (label < 0 ? mean([set.threshold].flat()) : set.threshold[label] ?? set.threshold);
const standing = (member) => (label < 0 ? mean(set.weights[member]) : set.weights[member][label]);

function receive(value) {
  if (!value) return;
  const isAnother = offer?.name !== value.name;
  offer = value;
  store.titles = Object.fromEntries(value.members.map(({ name, title }) => [name, title]));
  set = { ...copyOf(value.settings), weights: value.settings.weights.map(each) };
  if (isAnother) { label = -1; mine = null; }
  mode = isRecommended() ? "recommended" : mode === "equal" && isEqual() ? "equal" : "mine";
  if (mode === "mine") mine = copyOf(set);
  if (first && fromFragment()) document.addEventListener("medseg:opened", () => (tell(), rest()), { once: true, signal });
  if (first && !location.hash) home = offer.name;
  if (isAnother && !first) toFragment(false);
  first = false;
  drawControls();
  $(".mix").hidden = false;
}

// --- the settings in the address: a link opens the page as it stands, and never names the image

const round = (weight) => Math.round(weight * 10000) / 10000;
let first = true, home = ""; // the ensemble that the page opens with, where nobody asks for another
let hand = null; // what was moved last: moves of one control are one step of the browser's history

function toFragment(isStep = true) {
  const rows = set.weights.map((row) => [...new Set(row)].length === 1 ? round(row[0]) : row.map(round).join("|"));
  const words = new URLSearchParams({ ensemble: offer.name, weights: rows.join(), cut: [set.threshold].flat().join("|"), vote: set.blend, least: set.least });
  if (set.flips) words.set("flips", 1);
  const isPlain = mode === "recommended" && offer.name === home, address = isPlain ? location.pathname + location.search : "#" + words;
  if (isPlain ? !location.hash : location.hash === "#" + words) return;
  history[isStep && document.activeElement !== hand ? "pushState" : "replaceState"](history.state, "", address);
  hand = isStep ? document.activeElement : null;
}

// The settings of the address, where they are of this ensemble; without any those that are recommended.
function fromFragment() {
  const words = new URLSearchParams(location.hash.slice(1)), cuts = (words.get("cut") ?? "").split("|").map(Number), vote = words.get("vote");
  const rows = (words.get("weights") ?? "").split(",").map((row) => row.split("|").map(Number));
  const fits = rows.length === offer.members.length && rows.every((row) => row.every((weight) => weight >= 0) && (row.length === 1 || row.length === offer.labels.length));
  if (words.get("ensemble") !== offer.name || !fits || !rows.some(([weight]) => weight > 0)) return false;
  set.weights = rows.map((row) => (row.length === 1 ? each(row[0]) : row));
  if (cuts.every((cut) => cut >= 0.01 && cut <= 0.99) && [1, offer.labels.length].includes(cuts.length)) set.threshold = cuts.length === 1 ? cuts[0] : cuts;
  if (offer.blends.some(({ name }) => name === vote)) set.blend = vote;
  set.flips = words.has("flips") && !offer.upright;
  set.least = Math.max(0, Math.round(Number(words.get("least"))) || 0);
  own();
  return true;
}

// Back and forward of the browser. Settings of another ensemble are not taken: the address names what is shown.
addEventListener("popstate", () => {
  if (!offer) return;
  if (location.hash ? !fromFragment() : offer.name !== home) return toFragment(false);
  if (!location.hash) { MODES.recommended(); mode = "recommended"; }
  hand = null;
  refresh();
  tell();
  rest();
}, { signal });

const chosen = (what) => ({ weights: what.weights.map(each), threshold: what.threshold, blend: what.blend, flips: what.flips, least: what.least });
const isRecommended = () => same(shares(chosen(set)), shares(chosen(offer.recommended)));
const isEqual = () => same(shares(set).weights, shares({ weights: set.weights.map((row) => row.map(() => 1)) }).weights);

// The weights as shares of each label's sum, rounded, so that 1 : 1 and 0.33 : 0.33 are the same mix.
function shares(what) {
  const sums = offer.labels.map((_, k) => what.weights.reduce((sum, row) => sum + row[k], 0) || 1);
  return { ...what, weights: what.weights.map((row) => row.map((weight, k) => Math.round((1000 * weight) / sums[k]))) };
}

// --- the controls, made anew for whatever ensemble is loaded

function drawControls() {
  $(".members").replaceChildren(...offer.members.map(memberRow));
  fillSelect("#blend", offer.blends.map(({ name, title }) => [name, title]), set.blend);
  fillSelect("#weights-of", [[-1, "All labels"], ...offer.labels.map((name, k) => [k, name])], label);
  $(".of").hidden = offer.labels.length < 2;
  $("#labels").hidden = offer.labels.length < 2;
  $("#labels").replaceChildren($("#labels legend"), ...offer.labels.map(labelBox));
  refresh();
}

function memberRow({ name, title }, member) {
  const row = document.createElement("div"), dot = document.createElement("i"), words = document.createElement("span");
  row.className = "member";
  dot.style.background = COLOURS[member % COLOURS.length];
  words.textContent = title;
  words.title = name;
  const share = document.createElement("output"), only = document.createElement("button"), slider = document.createElement("input");
  Object.assign(only, { type: "button", textContent: "Only this" });
  only.setAttribute("aria-label", "Only this model: " + title);
  only.addEventListener("click", () => setWeights(offer.members.map((_, other) => Number(other === member)), true));
  Object.assign(slider, { type: "range", min: 0, max: 1, step: 0.01 });
  slider.setAttribute("aria-label", "Weight of " + title);
  slider.addEventListener("input", () => setWeights(offer.members.map((_, other) => (other === member ? Number(slider.value) : standing(other)))));
  slider.addEventListener("change", rest);
  row.append(dot, words, share, only, slider);
  return row;
}

function labelBox(name) {
  const box = document.createElement("label"), input = document.createElement("input");
  box.className = "check";
  input.type = "checkbox";
  input.checked = !set.hidden.includes(name);
  input.addEventListener("change", () => {
    set.hidden = input.checked ? set.hidden.filter((other) => other !== name) : [...set.hidden, name];
    changed({ hidden: set.hidden });
    rest();
  });
  box.append(input, " " + name);
  return box;
}

function fillSelect(selector, choices, value) {
  $(selector).replaceChildren(...choices.map(([key, words]) => new Option(words, key, false, String(key) === String(value))));
}

// Where every control stands.
function refresh() {
  const totals = offer.members.map((_, member) => standing(member)), total = totals.reduce((a, b) => a + b, 0) || 1;
  element.querySelectorAll(".member").forEach((row, member) => {
    const slider = row.querySelector("input");
    slider.value = totals[member];
    row.querySelector("output").textContent = Math.round((100 * totals[member]) / total) + " %";
    slider.setAttribute("aria-valuetext", row.querySelector("output").textContent + " of the vote");
    row.classList.toggle("silent", totals[member] === 0);
  });
  const isLast = totals.filter((share) => share > 0).length === 1 && total <= LEAST + 1e-9;
  $(".said").textContent = isLast ? "One model must count: the last one stays." : "";
  $("#cut").value = cutOff();
  $("#cut").setAttribute("aria-valuetext", Math.round(100 * cutOff()) + " % sure");
  $("#cut-typed").value = cutOff().toFixed(2);
  $("#blend").value = set.blend;
  $(".about-blend").textContent = offer.blends.find(({ name }) => name === set.blend)?.about ?? "";
  $("#opacity").value = set.opacity;
  $("#flips").checked = set.flips;
  $("#flips").disabled = offer.upright;
  $(".about-flips").textContent = offer.upright ? "These models learnt from images that all lie one way and know no mirror images." : "Each model runs on the image and its three mirror images.";
  $("#least").value = set.least;
  $("#rate").value = set.rate;
  element.querySelectorAll("[data-mode]").forEach((button) => button.setAttribute("aria-pressed", button.dataset.mode === mode));
}

// --- moves

const byLabel = () => offer.labels.map((_, k) => set.weights.map((row) => row[k]));
const tell = () => document.dispatchEvent(new CustomEvent("medseg:settings", { detail: { weights: byLabel(), threshold: set.threshold, blend: set.blend, opacity: set.opacity, hidden: set.hidden } }));

function changed(detail) {
  refresh();
  document.dispatchEvent(new CustomEvent("medseg:settings", { detail }));
}

function setWeights(values, isRest = false) {
  if (!values.some((value) => value > 0)) values = values.map((_, member) => (standing(member) > 0 ? LEAST : 0)); // the last one stays
  set.weights = set.weights.map((row, member) => row.map((weight, k) => (label < 0 || label === k ? values[member] : weight)));
  if (set.blend === "stacking") set.blend = "weighted mean"; // a stacker knows no weights, and who moves one wants to see it
  own();
  changed({ weights: byLabel(), blend: set.blend });
  if (isRest) rest();
}

function own() {
  mode = isRecommended() ? "recommended" : "mine";
  if (mode === "mine") mine = copyOf(set);
}

// Back to what came with the ensemble, to equal weights, or to what the visitor had set.
const MODES = {
  recommended: () => Object.assign(set, copyOf(offer.recommended), { weights: offer.recommended.weights.map(each) }),
  equal: () => (set.weights = offer.members.map(() => offer.labels.map(() => 1 / offer.members.length))),
  mine: () => mine && Object.assign(set, copyOf(mine)),
};
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-mode]");
  if (!button || !offer) return;
  mode = button.dataset.mode;
  MODES[mode]();
  refresh();
  tell();
  rest();
});

function setCutOff(value) {
  if (!(value >= 0.01 && value <= 0.99)) {
    refresh();
    $(".said").textContent = "The cut-off goes from 0.01 to 0.99.";
    return;
  }
  value = Math.round(value * 100) / 100;
  set.threshold = label < 0 || !offer.apart ? value : offer.labels.map((_, k) => (k === label ? value : set.threshold[k] ?? set.threshold));
  own();
  changed({ threshold: set.threshold });
  return true;
}

const on = (selector, event, act) => $(selector).addEventListener(event, () => act($(selector)));
on("#cut", "input", (slider) => setCutOff(Number(slider.value)));
on("#cut", "change", () => rest());
on("#cut-typed", "change", (field) => setCutOff(Number(field.value)) && rest());
on("#blend", "change", (list) => ((set.blend = list.value), own(), changed({ blend: set.blend }), rest()));
on("#opacity", "input", (slider) => ((set.opacity = Number(slider.value)), changed({ opacity: set.opacity })));
on("#opacity", "change", () => rest());
on("#flips", "change", (box) => ((set.flips = box.checked), own(), refresh(), rest()));
on("#least", "change", (field) => ((set.least = Math.max(0, Math.round(Number(field.value)) || 0)), own(), refresh(), rest()));
on("#rate", "change", (list) => ((set.rate = Number(list.value)), rest()));
on("#weights-of", "change", (list) => ((label = Number(list.value)), refresh()));

// The hand has come to rest: one message with all settings. A key may come again at once, a released mouse does not.
let isKey = false;
element.addEventListener("keydown", () => (isKey = true), true);
element.addEventListener("pointerdown", () => (isKey = false), true);
function rest() {
  document.dispatchEvent(new CustomEvent("medseg:waiting"));
  toFragment();
  clearTimeout(timer);
  timer = setTimeout(send, isKey ? REST_MS : 0);
}

// One message at a time: what came while one is on its way goes when that is done. (Gradio's own "always_last" would
// send the data of the first once more.)
let isSent = false, isLate = false;
function send() {
  timer = 0;
  if (isSent) return void (isLate = true);
  isSent = true;
  isLate = false;
  trigger("settle", copyOf(set));
}
document.addEventListener("medseg:done", () => {
  isSent = false;
  if (isLate) rest();
}, { signal });

document.addEventListener("medseg:cut-off", (event) => offer && ((isKey = true), setCutOff(cutOff() + event.detail) && rest()), { signal });
document.addEventListener("medseg:shown", ({ detail }) => {
  const rates = detail.result.rates;
  $(".bounds").hidden = !rates.length;
  fillSelect("#rate", [[0, "Off"], ...rates.map((rate) => [rate, Math.round(100 * rate) + " %"])], set?.rate ?? 0);
}, { signal });
store.set = () => copyOf(set);

// What is saved or sent waits for this: Python then has the settings that are seen.
store.settled = async () => {
  while (timer || isSent) await new Promise((go) => document.addEventListener("medseg:done", () => setTimeout(go), { once: true }));
};
watch("value", () => receive(props.value));
receive(props.value);
