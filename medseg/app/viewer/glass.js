// The same blends and views by WebGL2: planes in, pixels of the screen out. Where there is none, or only a software one,
// which is slower, or the context is lost, blend.js and the 2-D canvas do it; STAPLE, stacking, truth and drawing are theirs.
//
// `mix` blends the planes at every pixel of the image into a layer for each label (a probability of 16 bits in red and
// green, the members' disagreement in blue); `show` draws layers on the screen. The library's own masks come as layers too.

const MOST = { members: 8, layers: 128 };
const HOWS = ["weighted mean", "geometric", "median", "majority vote"];

const VERTEX = `#version 300 es
void main() { gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0); }`;

const MIX = `#version 300 es
precision highp float; precision highp usampler2DArray;
uniform usampler2DArray planes; uniform int members, labels, label, how; uniform bool isJoint;
uniform float shares[${MOST.layers}], cutOff; // label × 8 + member
out vec4 layer;
const float NEAREST = 1.0 / 2048.0, FARTHEST = ${FARTHEST}, TIE = 1e-6;
ivec2 place;
int codeOf(int m, int k) { return int(texelFetch(planes, ivec3(place, k * members + m), 0).r); }
float odds(int code) { return (float(2 * code + 1) / ${CODES}.0 - 1.0) * FARTHEST; }
float chance(int code) { return code == 0 ? 0.0 : code == ${CODES - 1} ? 1.0 : 1.0 / (1.0 + exp(-odds(code))); }
float chanceOf(int m, int k) { return chance(codeOf(m, k)); }
float share(int m, int k) { return shares[k * 8 + m]; }
float vote(int m, int k) {
  if (!isJoint) return codeOf(m, k) >= ${CODES / 2} ? 1.0 : 0.0;
  float sum = 0.0, most = -1.0; int best = 0;
  for (int j = 0; j < labels; j++) { float p = chanceOf(m, j); sum += p; if (p > most) { most = p; best = j; } }
  return best == k && sum >= 0.5 ? 1.0 : 0.0;
}
float median(int k) {
  int lower = ${CODES}, upper = ${CODES}, last = 0;
  for (int m = 0; m < members; m++) {
    if (share(m, k) == 0.0) continue;
    int value = codeOf(m, k);
    float reached = 0.0;
    for (int n = 0; n < members; n++) if (codeOf(n, k) <= value) reached += share(n, k);
    if (reached >= 0.5 - TIE) lower = min(lower, value);
    if (reached >= 0.5 + TIE) upper = min(upper, value);
    last = max(last, value);
  }
  return (chance(min(lower, last)) + chance(min(upper, last))) / 2.0;
}
float logMean(int k) { // k = labels: the background, with a member's mean weight
  float sum = 0.0;
  for (int m = 0; m < members; m++) {
    float p = k < labels ? chanceOf(m, k) : 1.0, weight = k < labels ? share(m, k) : 0.0;
    if (k == labels) for (int j = 0; j < labels; j++) { p -= chanceOf(m, j); weight += share(m, j) / float(labels); }
    sum += weight * log(max(p, NEAREST));
  }
  return exp(sum);
}
float alone(int k) { // before labels that exclude each other are made to agree
  if (how == 2) return median(k);
  if (how == 1 && isJoint) return logMean(k);
  float sum = 0.0;
  for (int m = 0; m < members; m++) {
    sum += share(m, k) * (how == 0 ? chanceOf(m, k) : how == 1 ? odds(codeOf(m, k)) : vote(m, k));
  }
  return how == 1 ? 1.0 / (1.0 + exp(-sum)) : sum;
}
float joint(int k) { // the field bent as by exclude() in blend.js
  float sum = 0.0, most = -1.0, own = 0.0; int best = 0;
  for (int j = 0; j < labels; j++) { float p = alone(j); sum += p; if (p > most) { most = p; best = j; } if (j == k) own = p; }
  float whole = how == 1 ? sum + logMean(labels) : max(sum, 1.0);
  own /= whole; sum /= whole;
  return best == k && sum >= cutOff ? max(own, cutOff) : min(own, cutOff - 1e-4);
}
void main() {
  place = ivec2(gl_FragCoord.xy);
  float p = isJoint ? joint(label) : alone(label), whole = round(clamp(p, 0.0, 1.0) * 65535.0), mean = 0.0, square = 0.0;
  for (int m = 0; m < members; m++) { float p = chanceOf(m, label); mean += share(m, label) * p; square += share(m, label) * p * p; }
  layer = vec4(floor(whole / 256.0) / 255.0, mod(whole, 256.0) / 255.0, 2.0 * sqrt(max(0.0, square - mean * mean)), 1.0);
}`;

const SHOW = `#version 300 es
precision highp float; precision highp sampler2DArray;
uniform sampler2DArray layers; uniform int count, heat; // 0: masks, 1: probability, 2: disagreement, 3: entropy
uniform vec2 size, origin, stage; uniform float zoom, ratio, cutOff, opacity, halfWidth;
uniform vec4 colours[${MOST.layers}]; // alpha 0: hidden, 0.5: dashed
uniform vec3 scale[10];
out vec4 colour;
vec2 one(ivec2 at, int k) {
  if (at.x < 0 || at.y < 0 || at.x >= int(size.x) || at.y >= int(size.y)) return vec2(0.0);
  vec3 bytes = floor(texelFetch(layers, ivec3(at, k), 0).rgb * 255.0 + 0.5);
  return vec2((bytes.r * 256.0 + bytes.g) / 65535.0, bytes.b / 255.0);
}
vec2 field(vec2 at, int k) {
  vec2 low = floor(at - 0.5), part = at - 0.5 - low; ivec2 corner = ivec2(low);
  return mix(mix(one(corner, k), one(corner + ivec2(1, 0), k), part.x), mix(one(corner + ivec2(0, 1), k), one(corner + ivec2(1, 1), k), part.x), part.y);
}
float apart(vec2 at, float here, int k) { // pixels of the screen to the outline, as far as it matters
  float least = 9.0;
  for (int n = 0; n < 8; n++) {
    vec2 way = vec2(cos(float(n) * 0.7853982), sin(float(n) * 0.7853982)) / zoom;
    float near = field(at + way, k).r, far = field(at + 2.2 * way, k).r;
    if ((near >= cutOff) != (here >= cutOff)) least = min(least, (cutOff - here) / (near - here));
    else if ((far >= cutOff) != (near >= cutOff)) least = min(least, 1.0 + 1.2 * (cutOff - near) / (far - near));
  }
  return least;
}
void over(vec3 ink, float alpha) { colour = vec4(ink * alpha, alpha) + colour * (1.0 - alpha); }
float worth(vec2 at, int k) {
  vec2 value = zoom < 6.0 ? field(at, k) : one(ivec2(floor(at)), k);
  float p = value.r;
  return heat == 1 ? p : heat == 2 ? value.g : p > 0.0 && p < 1.0 ? -(p * log2(p) + (1.0 - p) * log2(1.0 - p)) : 0.0;
}
void main() {
  colour = vec4(0.0);
  vec2 screen = vec2(gl_FragCoord.x, stage.y - gl_FragCoord.y) / ratio, at = (screen - origin) / zoom;
  if (any(lessThan(at, vec2(-3.0 / zoom))) || any(greaterThan(at, size + 3.0 / zoom))) return;
  if (heat > 0) {
    float value = 0.0;
    for (int k = 0; k < count; k++) if (colours[k].a > 0.0) value = max(value, worth(at, k));
    float step = min(value, 1.0) * 9.0; int low = min(int(step), 8);
    over(mix(scale[low], scale[low + 1], step - float(low)), min(2.0 * value, 1.0) * 0.75);
  }
  for (int k = 0; k < count; k++) {
    if (colours[k].a == 0.0) continue;
    float here = field(at, k).r, far = apart(at, here, k);
    if (here >= cutOff) over(colours[k].rgb, opacity);
    over(vec3(4.0, 20.0, 26.0) / 255.0, clamp((halfWidth + 1.0 - far) * ratio + 0.5, 0.0, 1.0));
    if (colours[k].a == 1.0 || mod(screen.x + screen.y, 8.0) < 3.0) over(colours[k].rgb, clamp((halfWidth - far) * ratio + 0.5, 0.0, 1.0));
  }
}`;

// What draws on `canvas`, or null where the browser has no WebGL2, or one in software, unless that `isForced`.
function newGlass(canvas, isForced = false) {
  const gl = canvas.getContext("webgl2", { antialias: false, failIfMajorPerformanceCaveat: !isForced });
  if (!gl || (!isForced && isSoftware(gl))) return null;
  const mixing = programOf(gl, MIX), showing = programOf(gl, SHOW), frame = gl.createFramebuffer();
  let about = null, planes = null, layers = null, depth = 0;

  function clear(count) {
    if (count === depth) return;
    gl.deleteTexture(layers);
    layers = textureOf(gl, gl.RGBA8, about, (depth = count));
  }

  return {
    fits: (members, labels) => members <= MOST.members && members * labels <= MOST.layers && 8 * labels <= MOST.layers,

    // The planes (label by label, then member by member) of another image.
    load(labels, width, height, isJoint) {
      gl.deleteTexture(planes);
      about = { width, height, isJoint, members: labels[0].length, labels: labels.length };
      planes = textureOf(gl, gl.R16UI, about, about.members * about.labels);
      labels.flat().forEach((plane, n) => putLayer(gl, planes, n, about, gl.RED_INTEGER, plane));
      depth = 0;
    },

    // Blend into a layer for each entry of `mixes`: { label, weights (for each label one a member) }.
    mix(mixes, how, cutOff) {
      clear(mixes.length);
      gl.useProgram(mixing.program);
      gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
      gl.viewport(0, 0, about.width, about.height);
      gl.bindTexture(gl.TEXTURE_2D_ARRAY, planes);
      mixing.set({ members: about.members, labels: about.labels, how: HOWS.indexOf(how), isJoint: about.isJoint, cutOff });
      mixes.forEach(({ label, weights }, n) => {
        gl.framebufferTextureLayer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, layers, 0, n);
        mixing.set({ label, shares: weights.flatMap((of) => Object.assign(Array(8).fill(0), shared(of))) });
        gl.drawArrays(gl.TRIANGLES, 0, 3);
      });
    },

    // The layers as the library has them: fields with their rim, and how far the members are apart, where that is shown.
    take(fields, apart) {
      clear(fields.length);
      const { width, height } = about, bytes = new Uint8Array(width * height * 4);
      fields.forEach((field, n) => {
        for (let y = 0, to = 0; y < height; y++)
          for (let x = 0, at = (y + 1) * (width + 2) + 1; x < width; x++, at++, to += 4) {
            const whole = Math.round(field[at] * 65535);
            bytes[to] = whole >> 8;
            bytes[to + 1] = whole;
            bytes[to + 2] = apart[n] ? 255 * apart[n][at] : 0;
          }
        putLayer(gl, layers, n, about, gl.RGBA, bytes);
      });
    },

    // `place` as in viewer.js; `colours` [hex, alpha] for each layer: alpha 0 is hidden, 0.5 dashed.
    show({ zoom, x, y }, [wide, high, ratio], { heat, colours, cutOff, opacity, halfWidth }) {
      const [width, height] = [wide * ratio, high * ratio].map(Math.round);
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      gl.bindFramebuffer(gl.FRAMEBUFFER, null);
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.useProgram(showing.program);
      gl.bindTexture(gl.TEXTURE_2D_ARRAY, layers);
      const inks = colours.flatMap(([colour, alpha]) => [...rgb(colour).map((byte) => byte / 255), alpha]);
      const scale = VIRIDIS.flatMap((colour) => rgb("#" + colour).map((byte) => byte / 255));
      showing.set({ count: depth, heat, size: [about.width, about.height], origin: [x, y], stage: [canvas.width, canvas.height] });
      showing.set({ zoom, ratio, cutOff: cutOff - 8e-6, opacity, halfWidth, colours: inks, scale }); // half a step of 16 bits
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    },

    // A layer's probabilities, width × height.
    read(layer) {
      const { width, height } = about, bytes = new Uint8Array(width * height * 4);
      gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
      gl.framebufferTextureLayer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, layers, 0, layer);
      gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
      return Float32Array.from({ length: width * height }, (_, at) => (bytes[4 * at] * 256 + bytes[4 * at + 1]) / 65535);
    },
  };
}

function isSoftware(gl) {
  const names = gl.getExtension("WEBGL_debug_renderer_info");
  return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(names ? gl.getParameter(names.UNMASKED_RENDERER_WEBGL) : "");
}

// A program, and what sets its uniforms by name: numbers, or lists of them.
function programOf(gl, fragment) {
  const program = gl.createProgram(), setters = {};
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  const ways = { [gl.FLOAT]: "uniform1fv", [gl.FLOAT_VEC2]: "uniform2fv", [gl.FLOAT_VEC3]: "uniform3fv", [gl.FLOAT_VEC4]: "uniform4fv" };
  const count = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS) ?? 0; // null: the context is lost already
  for (let n = 0; n < count; n++) {
    const { name, type } = gl.getActiveUniform(program, n), at = gl.getUniformLocation(program, name);
    setters[name.replace("[0]", "")] = (numbers) => gl[ways[type] ?? "uniform1iv"](at, numbers);
  }
  return { program, set: (values) => Object.entries(values).forEach(([name, value]) => setters[name]?.([value].flat().map(Number))) };
}

function textureOf(gl, format, { width, height }, count) {
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
  gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, format, width, height, count);
  for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D_ARRAY, filter, gl.NEAREST);
  return texture;
}

function putLayer(gl, texture, layer, { width, height }, format, data) {
  gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  gl.texSubImage3D(gl.TEXTURE_2D_ARRAY, 0, 0, 0, layer, width, height, 1, format, data.BYTES_PER_ELEMENT === 2 ? gl.UNSIGNED_SHORT : gl.UNSIGNED_BYTE, data);
}
