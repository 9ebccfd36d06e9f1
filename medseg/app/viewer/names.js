// Names of files stay in this browser. What is uploaded is called image-3-x1f7a.png; what comes back, on the page or as a
// file, gets the visitor's own name again here. The names inside a zip go with it, and so do those of a fit, whose masks
// are found by them.

const KEPT = "#upload, #truth, #batch-files"; // fields that upload without names
const store = (window.medseg ??= {});
store.mark ??= "x" + crypto.getRandomValues(new Uint32Array(1))[0].toString(16);
store.names ??= new Map(); // from the names that were uploaded to the visitor's, both without the ending

const known = new RegExp("image-\\d+-" + store.mark, "g");
store.named = (text) => text.replace(known, (name) => store.names.get(name) ?? name);

const endOf = (name) => /(\.nii)?\.[a-z]\w{0,4}$/i.exec(name)?.[0] ?? "";
const stemOf = (name) => name.slice(0, name.length - endOf(name).length);

// Of two files of one field that have one name the second gets a number: their results lie in one table and one zip.
function unnamed(file, taken) {
  const end = endOf(file.name), stem = stemOf(file.name);
  let own = stem || "image";
  for (let number = 2; taken.has(own.toLowerCase()); number++) own = stem + " (" + number + ")";
  taken.add(own.toLowerCase());
  const name = "image-" + (store.names.size + 1) + "-" + store.mark;
  store.names.set(name, own);
  return new File([file], name + end, { type: file.type });
}

// Before Gradio sees them: files that have their own names still are put into the field under others.
function rename(event, input, files) {
  if (![...files].some((file) => !file.name.includes(store.mark))) return;
  event.stopImmediatePropagation();
  event.preventDefault();
  if (!input) return;
  const transfer = new DataTransfer();
  const listed = input.closest("#batch-files")?.querySelectorAll("td.filename") ?? []; // other fields take one choice at a time
  const taken = new Set([...listed].map((cell) => stemOf(store.named(cell.ariaLabel ?? "")).toLowerCase()));
  for (const file of files) transfer.items.add(unnamed(file, taken));
  input.files = transfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

store.renamer?.abort();
store.renamer = new AbortController();
const early = { capture: true, signal: store.renamer.signal };
window.addEventListener("change", (event) => {
  if (event.target.matches?.("input[type=file]") && event.target.closest(KEPT)) rename(event, event.target, event.target.files);
}, early);
window.addEventListener("drop", (event) => {
  const field = event.target.closest?.(KEPT);
  if (field) rename(event, field.querySelector("input[type=file]"), event.dataTransfer.files);
}, early);

// --- saving

const fetched = async (url) => (await fetch(url)).blob();

function offer(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob); // the file's own name on the server would win over ours
  link.download = store.named(name);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
store.save = async (url, name) => offer(await fetched(url), name);
store.saveZip = async (url, name) => offer(await renamedZip(await fetched(url)), name);

// A zip as medseg writes it (sizes in the headers, no zip64), with the visitor's names in names and tables.
async function renamedZip(blob) {
  const bytes = new DataView(await blob.arrayBuffer()), { buffer } = bytes;
  const end = bytes.byteLength - 22, count = bytes.getUint16(end + 10, true);
  const parts = [], directory = [];
  let offset = 0;
  for (let at = bytes.getUint32(end + 16, true), n = 0; n < count; n++) {
    const [length, extra, comment] = [28, 30, 32].map((field) => bytes.getUint16(at + field, true));
    const entry = { head: buffer.slice(at, at + 46), name: store.named(new TextDecoder().decode(new Uint8Array(buffer, at + 46, length))) };
    const from = bytes.getUint32(at + 42, true), data = from + 30 + bytes.getUint16(from + 26, true) + bytes.getUint16(from + 28, true);
    await fill(entry, new Blob([buffer.slice(data, data + bytes.getUint32(at + 20, true))]));
    parts.push(...written(entry, offset, directory));
    offset = entry.end;
    at += 46 + length + extra + comment;
  }
  const size = directory.reduce((sum, part) => sum + part.byteLength, 0), last = new DataView(buffer.slice(end));
  last.setUint32(12, size, true);
  last.setUint32(16, offset, true);
  return new Blob([...parts, ...directory, last], { type: "application/zip" });
}

// Tables and reports hold names too: they are unpacked, named and packed again.
const NAMED = { csv: inCsv, json: inJson };
async function fill(entry, packed) {
  const put = NAMED[/\.(csv|json)$/.exec(entry.name)?.[1]];
  entry.data = new Uint8Array(await packed.arrayBuffer());
  if (!put) return;
  const text = await new Response(packed.stream().pipeThrough(new DecompressionStream("deflate-raw"))).text();
  const plain = new TextEncoder().encode(put(text)), head = new DataView(entry.head);
  entry.data = new Uint8Array(await new Response(new Blob([plain]).stream().pipeThrough(new CompressionStream("deflate-raw"))).arrayBuffer());
  head.setUint32(16, checksum(plain), true);
  head.setUint32(20, entry.data.length, true);
  head.setUint32(24, plain.length, true);
}

// The local header (APPNOTE 4.3.7) repeats the fields 6 to 30 of the directory's (4.3.12), whose names are UTF-8.
function written(entry, offset, directory) {
  const name = new TextEncoder().encode(entry.name), head = new DataView(entry.head), local = new DataView(new ArrayBuffer(30));
  head.setUint16(8, head.getUint16(8, true) | 0x800, true);
  head.setUint16(28, name.length, true);
  head.setUint32(30, 0, true); // no extra field, no comment
  head.setUint32(42, offset, true);
  local.setUint32(0, 0x04034b50, true);
  new Uint8Array(local.buffer).set(new Uint8Array(entry.head, 6, 24), 4);
  local.setUint16(28, 0, true);
  directory.push(head, name);
  entry.end = offset + 30 + name.length + entry.data.length;
  return [local, name, entry.data];
}

function inJson(text) {
  return text.replace(known, (name) => JSON.stringify(store.names.get(name) ?? name).slice(1, -1));
}

// A cell with a name is quoted where the name asks for it, and is no formula (OWASP, CSV Injection).
function inCsv(text) {
  const cells = text.replace(new RegExp("(?<=^|,)" + known.source + "[^,\\r\\n]*", "gm"), (cell) => {
    const named = store.named(cell), safe = /^[=+\-@]/.test(named) ? "'" + named : named;
    return /[",\r\n]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
  });
  return cells.replace(known, (name) => (store.names.get(name) ?? name).replaceAll('"', '""')); // quoted already
}

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});
const checksum = (bytes) => ~bytes.reduce((sum, byte) => CRC[(sum ^ byte) & 255] ^ (sum >>> 8), -1) >>> 0;
