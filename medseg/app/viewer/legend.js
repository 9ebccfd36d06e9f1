// Colours that are seen on the image, and what they mean.

// --- colours and legend

// For each label the colour that is farthest from the image around its mask and from the labels before it.
function chooseColours() {
  if (!open || !exact) return [];
  const around = sample(), chosen = [];
  open.labels.forEach((_, k) => {
    const taken = chosen.map(rgb);
    const worth = LABEL_COLOURS.map((colour, n) => {
      const far = around.reduce((sum, pixel) => sum + distance(rgb(colour), pixel), 0) / around.length;
      const apart = Math.min(400, ...taken.map((other) => distance(rgb(colour), other)));
      return (n === 0 ? 40 : 0) + far + 2 * Math.min(apart, 120);
    });
    chosen.push(LABEL_COLOURS[worth.indexOf(Math.max(...worth))]);
  });
  return chosen;
}

// Some pixels of the image where a mask is or may be; all over it where there is none.
function sample() {
  const { width, height } = open, pixels = image.getContext("2d").getImageData(0, 0, width, height).data, all = [], near = [];
  for (let at = 0; at < width * height; at += 97) {
    const pixel = [pixels[4 * at], pixels[4 * at + 1], pixels[4 * at + 2]];
    all.push(pixel);
    if (exact.masks.some((mask) => mask[at])) near.push(pixel);
  }
  return near.length > 10 ? near : all;
}

const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);

const SCALES = { probability: ["0 %", "100 % sure"], differ: ["models agree", "opposite"], unsure: ["sure", "undecided"] };
let written = "";
function legend(entries) {
  const key = JSON.stringify([entries, view, colours]);
  if (key === written) return;
  written = key;
  $(".legend").replaceChildren(...entries.map(([colour, name, label, line]) => (colour ? swatch(colour, name, label, line) : bar(...SCALES[name]))));
}

// `line` is dashed or dotted, as the outline is that it names.
function swatch(colour, name, label, line) {
  const choosable = label !== undefined;
  const entry = document.createElement(choosable ? "button" : "span"), mark = document.createElement("i");
  mark.style.background = colour;
  if (line) mark.className = line;
  entry.append(mark, name);
  if (!choosable) return entry;
  entry.type = "button";
  entry.title = "Another colour";
  entry.addEventListener("click", () => {
    colours[label] = LABEL_COLOURS[(LABEL_COLOURS.indexOf(colour) + 1) % LABEL_COLOURS.length];
    draw();
  });
  return entry;
}

function bar(low, high) {
  const entry = document.createElement("span"), scale = document.createElement("i");
  scale.className = "scale";
  entry.append(low, scale, high + " · white line: the mask");
  return entry;
}
