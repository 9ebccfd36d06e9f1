// The batch's rows in the order in which they are done, and when all are the most doubtful first; the files without a
// result in a list of their own. Names and sentences may be a stranger's: they become text, never markup.

const $ = (selector) => element.querySelector(selector);
const store = (window.medseg ??= {});
store.batch ??= { rows: new Map() }; // it outlives this element, which Gradio may draw anew

function receive(value) {
  if (value?.run && value.run !== store.batch.run) store.batch = { run: value.run, rows: new Map() };
  value?.rows?.forEach((row) => store.batch.rows.set(row.index, row));
  store.batch.isDone = value?.is_done;
  draw();
}

// A row that is there stays where it is while others come: nobody's click shall hit another one.
function draw() {
  const all = [...store.batch.rows.values()], failed = all.filter((row) => row.reason), done = all.filter((row) => !row.reason);
  $("table").hidden = !done.length;
  const [body] = $("table").tBodies;
  if (store.batch.isDone || done.length < body.rows.length) {
    done.sort((a, b) => a.order[0] - b.order[0] || a.order[1] - b.order[1]);
    body.replaceChildren();
  }
  body.append(...done.slice(body.rows.length).map(drawn));
  $(".failed").hidden = !failed.length || !store.batch.isDone;
  $(".failed h2").textContent = "Without a result: " + failed.length;
  $(".failed ul").replaceChildren(...failed.map((row) => made("li", {}, made("b", {}, nameOf(row)), ": " + store.named(row.reason))));
}

const nameOf = (row) => store.named(row.file) + row.frame;

function drawn(row) {
  const [level, worth] = row.worth, name = nameOf(row);
  const image = made("img", { src: row.src, alt: "", width: 128, height: 96, loading: "lazy" });
  const open = made("button", { type: "button", ariaLabel: "Open " + name, title: "Open in “Image”" }, image);
  const file = made("td", {}, name, ...(row.notes ? [made("br"), made("small", {}, row.notes)] : []));
  const areas = made("td", {}, ...row.areas.flatMap((area) => [made("br"), area]).slice(1));
  const chip = level ? [made("b", { className: "level " + level.split(" ")[0] }, (level === "look yourself" ? "⚠ " : "") + level), " "] : [];
  const line = made("tr", {}, made("td", {}, open), file, areas, made("td", {}, ...chip, worth));
  line.dataset.row = row.index;
  return line;
}

function made(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

element.addEventListener("click", (event) => {
  const line = event.target.closest("[data-row]");
  if (line && !String(getSelection())) trigger("open", { row: Number(line.dataset.row) });
});
watch("value", () => receive(props.value));
receive(props.value);
