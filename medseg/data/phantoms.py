"""Synthetic images that look medical, each with the mask it was drawn from: example images and training pairs.

`python -m medseg.data.phantoms` rewrites `assets/examples`. No patient's pixels are in them: every shape is a formula
and a seed. One seed draws the same scene at any size. Arithmetic is float64 throughout, so that the last bit, in which
processors differ, never reaches a grey value, and the committed examples can be tested for equality.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medseg.places import shipped

Field: TypeAlias = np.ndarray
"""(H, W) float64: one number for each pixel."""
Point: TypeAlias = tuple[float, float]
"""(y, x) from the image's centre; half of the shorter side is 1."""
Scene: TypeAlias = tuple[np.ndarray, np.ndarray]
"""(image, mask): (H, W) or (H, W, 3) float64, meant for [0, 1] but not yet clipped, and (H, W) bool."""

EXAMPLES = {"endoscopy": (9, 19), "brain": (15,), "chest": (234,)}
"""The seeds of each kind's committed images, on which its embedded ensemble finds what was drawn."""


def draw(kind: str, seed: int, size: tuple[int, int] = (512, 512)) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, uint8, and mask, (H, W) bool and never empty, of the phantom that `seed` stands for.

    "endoscopy": (H, W, 3), a bowel wall with a polyp. "brain": (H, W, 3), an axial head with a lesion; red, green and
    blue are the MR sequences before contrast, FLAIR and after contrast. "chest": (H, W), a frontal film with an opacity
    in a lung. `size` is (height, width). Raises ValueError for any other kind.
    """
    if kind not in SCENES:
        raise ValueError(f"No phantom is called {kind!r}; choose one of {', '.join(SCENES)}.")
    image, mask = SCENES[kind](Canvas(size, np.random.default_rng(seed)))
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8), mask


class Canvas:
    """The pixel grid in units of `Point`, and the generator that every random choice of a scene comes from."""

    def __init__(self, size: tuple[int, int], rng: np.random.Generator) -> None:
        self.rng = rng
        self.unit_px = min(size) / 2
        self.reach = (size[0] / min(size), size[1] / min(size))
        self.rows, self.columns = ((np.arange(n) + 0.5 - n / 2) / self.unit_px for n in size)
        self.y, self.x = np.meshgrid(self.rows, self.columns, indexing="ij")

    def vary(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def turned(self, centre: Point, angle: float) -> Canvas:
        """The same pixels and generator, with y and x measured from `centre` along turned axes."""
        view, (y, x) = copy.copy(self), (self.y - centre[0], self.x - centre[1])
        view.y, view.x = np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x
        return view

    def noise(self, cells: float) -> Field:
        """Smooth noise, mean 0, deviation about 1, `cells` bumps to the unit: Gaussian bells on a coarse lattice."""
        knots_y, knots_x = (np.arange(-k, k + 1) for k in (int(reach * cells) + 2 for reach in self.reach))
        bells_y = np.exp(-(((self.rows[:, None] * cells - knots_y) / 0.8) ** 2))
        bells_x = np.exp(-(((self.columns[:, None] * cells - knots_x) / 0.8) ** 2))
        lattice = self.rng.normal(size=(len(knots_y), len(knots_x)))
        # einsum, not @: beside a running training, BLAS threads wait for one another and take three times as long
        return np.einsum("yk,xk->yx", bells_y, np.einsum("xl,kl->xk", bells_x, lattice))

    def oval(self, centre: Point, radii: Point, ragged: float = 0.0, cells: float = 2.0) -> Field:
        """Distance from `centre` in radii: below 1 inside. `ragged` bends the outline, `cells` says how finely."""
        y, x = (self.y - centre[0]) / radii[0], (self.x - centre[1]) / radii[1]
        if ragged:
            y, x = y + ragged * self.noise(cells), x + ragged * self.noise(cells)
        return np.hypot(y, x)

    def slopes(self, height: Field) -> tuple[Field, Field]:
        dy, dx = np.gradient(height)
        return dy * self.unit_px, dx * self.unit_px


def soft(distance: Field, edge: float) -> Field:
    """1 inside (distance below 1), 0 outside, crossing over within about `edge`."""
    return 1 / (1 + np.exp(np.clip((distance - 1) * (4 / edge), -40, 40)))


def line(height: Field, width: float) -> Field:
    """1 where `height` crosses 0, fading to 0 over `width`: of smooth noise, a net of winding lines."""
    return np.exp(-((height / width) ** 2))


def mix(below: np.ndarray, above: np.ndarray | float, opacity: Field) -> np.ndarray:
    """`above` laid over `below`, a field or a colour image."""
    return below + (above - below) * (opacity if np.ndim(below) == 2 else opacity[..., None])


# Endoscopy: a height map of the wall, lit from the camera.


def endoscopy(c: Canvas) -> Scene:
    bearing = c.vary(0, 2 * np.pi)
    lumen = c.turned((0, 0), bearing).oval((0, c.vary(0.4, 1.1)), (c.vary(0.7, 1.3), 1), ragged=0.06)
    radius = c.vary(0.2, 0.55)
    opposite = c.turned((0, 0), bearing + np.pi + c.vary(-1.3, 1.3))
    site = opposite.turned((0, c.vary(0.05, 0.85 - radius)), c.vary(0, np.pi))
    polyp = site.oval((0, 0), (radius, radius * c.vary(0.65, 1)), ragged=c.vary(0.08, 0.22), cells=1.2 / radius)
    inside, field = soft(polyp, 0.2), field_of_view(c)

    dome = radius * c.vary(0.4, 0.75) * np.clip(1.15 - polyp**2, 0, None) ** 0.6 + 0.02 * c.noise(4)
    height = mix(folds(c, lumen), dome, inside) + 0.02 * c.noise(4) + 0.003 * c.noise(14)
    light, glint = lit(c, height)
    depth = mix(1 - np.exp(-((lumen / c.vary(0.35, 0.6)) ** 2)), c.vary(0.85, 1.05), inside)
    contact = 1 - c.vary(0, 0.5) * soft(polyp / 1.2, 0.5) * (1 - inside)
    light *= depth * contact * (1.1 - 0.2 * (c.y**2 + c.x**2))

    image = mix(*flesh(c), inside) * light[..., None] ** np.array((0.8, 1.05, 1.1))
    image = mix(image, np.array((1.0, 0.98, 0.96)), glint * np.clip(2 * depth - 0.6, 0, 1))
    return image * field[..., None], (polyp < 1) & (field > 0.5)


def folds(c: Canvas, lumen: Field) -> Field:
    """Crescent ridges around the lumen, nearer to one another in the depth."""
    phase = c.vary(2, 4) * np.log(lumen + 0.2) + 0.5 * c.noise(1.2) + c.vary(0, np.pi)
    ridge = (1.05 - np.sqrt(np.sin(phase) ** 2 + 0.01)) ** 2
    return 0.2 * ridge * np.clip(0.5 + c.noise(1), 0, 1.2)


def lit(c: Canvas, height: Field) -> tuple[Field, Field]:
    """(light, glint): how bright the relief looks beside its lamp, and where its wet, rippled surface mirrors it."""
    dy, dx = c.slopes(height)
    lamp_y, lamp_x = c.vary(-0.5, 0.5), c.vary(-0.5, 0.5)
    light = (1 - lamp_y * dy - lamp_x * dx) / np.sqrt((1 + dy**2 + dx**2) * (1 + lamp_y**2 + lamp_x**2))
    ripple_y, ripple_x = c.slopes(0.011 * c.noise(c.vary(9, 16)))
    off_mirror = (0.5 * (dy + lamp_y) + ripple_y) ** 2 + (0.5 * (dx + lamp_x) + ripple_x) ** 2
    return np.clip(light, 0.05, None), soft(off_mirror / 0.01, 0.8) * np.clip(1.5 * c.noise(2.5), 0, 1)


def flesh(c: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Two (H, W, 3): the wall with vessels and yellow remains; the polyp, redder or paler than it and pitted."""
    base = np.array((c.vary(0.78, 0.98), c.vary(0.42, 0.62), 0))
    base[2] = base[1] * c.vary(0.65, 0.95)
    wall = base * (1 + 0.06 * c.noise(2)[..., None] * (0.3, 1.0, 1.0))
    wall = mix(wall, base * (0.85, 0.55, 0.55), 0.5 * line(c.noise(4), 0.12) * np.clip(c.noise(1), 0, 1))
    wall = mix(wall, np.array((0.75, 0.55, 0.2)), 0.7 * soft(2.9 - c.noise(3), 0.3))
    shift = c.rng.choice((c.vary(0.72, 0.92), c.vary(1.05, 1.3)))
    pits = 1 + 0.04 * c.noise(20) + 0.05 * c.noise(5)
    return wall, base * (1.03, shift, shift * c.vary(0.92, 1.15)) * pits[..., None]


def field_of_view(c: Canvas) -> Field:
    """Three in four images show the endoscope's octagon, half of those with the black box at the lower left."""
    shape, corner = c.vary(0, 1), (c.vary(0.2, 0.6), c.vary(0.2, 0.6))
    y, x = c.y / c.reach[0], c.x / c.reach[1]
    octagon = np.maximum(np.maximum(np.abs(y), np.abs(x)) / 0.98, (np.abs(y) + np.abs(x)) / 1.5)
    box = np.maximum((1 - y) / corner[0], (1 + x) / corner[1])
    view = soft(octagon, 0.02) if shape < 0.75 else np.ones_like(octagon)
    return view * (1 - soft(box, 0.02)) if shape < 0.38 else view


# Brain: nested ovals from the scalp inwards.

FAT, BONE, FLUID = np.array([(0.75, 0.6, 0.75), (0.03, 0.02, 0.03), (0.08, 0.03, 0.08)])
GREY, WHITE, LESION = np.array([(0.28, 0.38, 0.3), (0.38, 0.31, 0.39), (0.3, 0.72, 0.36)])
"""Brightness of each tissue before contrast, in FLAIR and after contrast."""


def brain(c: Canvas) -> Scene:
    length = c.vary(0.74, 0.86)
    head = c.turned((c.vary(-0.06, 0.06), c.vary(-0.06, 0.06)), c.vary(-0.15, 0.15))
    scalp = head.oval((0, 0), (length, length * c.vary(0.76, 0.88)), ragged=0.012)
    side, reach = c.rng.choice((-1, 1)), c.vary(0.1, 0.25)
    spot = head.turned((c.vary(-0.32, 0.32), side * c.vary(0.22, 0.36)), c.vary(0, np.pi))
    lesion = spot.oval((0, 0), (reach, reach * c.vary(0.6, 1)), ragged=0.25, cells=4)
    swollen, core = soft(lesion, 0.35), soft(lesion / c.vary(0.05, 0.5), 0.2) * c.rng.integers(2)

    white = soft(scalp / 0.78, 0.15) * soft(2 - np.abs(c.noise(5)) - 0.4 * line(c.noise(8), 0.5), 0.6)
    tissue = mix(mix(GREY * np.ones_like(scalp)[..., None], WHITE, white), FLUID, sulci(head, scalp))
    tissue = mix(tissue, LESION * c.vary(0.8, 1.1), swollen * (1 - 0.8 * core))
    ventricles = np.hypot(head.y / 0.3, (np.abs(head.x) - 0.06 - 0.5 * head.y**2) / 0.05) / c.vary(0.5, 1.2)
    image = np.zeros_like(tissue)
    for layer, outer in ((FAT, 1.0), (BONE, 0.92), (FLUID, 0.87), (mix(tissue, FLUID, soft(ventricles, 0.3)), 0.85)):
        image = mix(image, layer, soft(scalp / outer, 0.03))
    shading = (1 + 0.1 * c.noise(0.8) + 0.05 * c.noise(14))[..., None] * c.rng.uniform(0.8, 1.1, size=3)
    return image * shading, (lesion < 1) & (scalp < 0.85) & (ventricles > 1)


def sulci(head: Canvas, scalp: Field) -> Field:
    """Winding dark furrows under the skull, and the cleft between the halves."""
    furrows = line(head.noise(8), 0.25) * soft(1.55 - scalp + 0.08 * head.noise(3), 0.15)
    cleft = line(head.x + 0.006 * head.noise(3), 0.012) * soft(1.3 - np.abs(head.y), 0.2)
    return np.clip(furrows + cleft, 0, 1)


# Chest: what the rays lose on their way adds up; the film is white where little came through.


def chest(c: Canvas) -> Scene:
    body = c.turned((c.vary(-0.04, 0.04), c.vary(-0.04, 0.04)), c.vary(-0.04, 0.04))
    heart = soft(body.turned((0.26, 0.14), -c.vary(0.3, 0.8)).oval((0, 0), (0.42, c.vary(0.22, 0.34))), 0.15)
    lungs = lung_fields(body) * (1 - 0.85 * heart)
    side = c.rng.choice((-1, 1))
    spot = body.turned((c.vary(-0.45, 0.1), side * c.vary(0.38, 0.5)), c.vary(0, np.pi))
    opacity = spot.oval((0, 0), (c.vary(0.2, 0.34), c.vary(0.16, 0.28)), ragged=0.25, cells=4)
    haze = soft(opacity, 0.9) * (1 + 0.15 * c.noise(9)) * c.vary(0.5, 0.8)

    loss = trunk(body) + 0.25 * heart + bones(body) + lungs * (vessels(body) + haze - c.vary(0.72, 0.85))
    return 1 - np.exp(-c.vary(1.1, 1.6) * np.clip(loss, 0.02, None)), (opacity < 1) & (lungs > 0.5)


def trunk(body: Canvas) -> Field:
    """Shoulders, neck, the organs between the lungs and those below them."""
    y, x, neck = body.y, np.abs(body.x), body.vary(0.2, 0.26)
    shoulders = soft(0.14 - y + 0.18 * np.clip(x - neck, 0, None) + 2.5 * np.clip(x - 0.7, 0, None) ** 2, 0.1)
    outline = np.maximum(shoulders, soft(x / (neck + 0.6 * np.clip(y + 1, 0, None)), 0.2)) * soft(x / 0.97, 0.08)
    return outline * (0.95 + 0.35 * line(x, 0.15) + 0.4 * soft(1.5 - y, 0.3) + 0.06 * body.noise(2))


def lung_fields(body: Canvas) -> Field:
    """Two tapering ovals, cut off by the domes of the diaphragm."""
    sideways, width = np.abs(body.x) - 0.41, body.vary(0.26, 0.32) + 0.07 * body.y
    lung = np.abs((body.y + body.vary(-0.04, 0.04)) / 0.72) ** 2.6 + np.abs(sideways / width) ** 2.6
    dome = body.vary(0.35, 0.5) + 0.06 * np.sign(body.x) + body.vary(0.8, 1.6) * sideways**2
    return soft(lung**0.4, 0.08) * soft(1 + body.y - dome, 0.05)


def bones(body: Canvas) -> Field:
    y, x = body.y, np.abs(body.x)
    spine = soft(x / 0.09, 0.3) * (0.2 + 0.06 * np.sin(42 * y))
    cage = soft(np.hypot(y / 0.85, x / 0.8), 0.1)
    ribs = 0.12 * bands(y - 0.6 * x + 1.1 * x**2, 0.17) + 0.06 * bands(y + 0.9 * x - 0.9 * x**2 + body.vary(0, 1), 0.21)
    collar = soft(np.abs(y + 0.64 + 0.1 * np.sin(4 * x)) / 0.035, 0.4) * soft(np.abs(x - 0.42) / 0.34, 0.1)
    return spine + cage * ribs + 0.15 * collar


def bands(height: Field, spacing: float) -> Field:
    """Bands of equal `height` with a dense rim."""
    across = np.abs((height / spacing) % 1 - 0.5) / 0.25
    return soft(across, 0.3) * (0.7 + 0.6 * across)


def vessels(body: Canvas) -> Field:
    """Branches that thin out away from the root of each lung."""
    from_root = np.hypot(body.y - 0.02, np.abs(body.x) - 0.17)
    branches = line(body.noise(7), 0.25) + 0.6 * line(body.noise(14), 0.3)
    return 0.4 * branches * np.exp(-from_root / 0.28) + 0.02 * body.noise(20)


SCENES = {"endoscopy": endoscopy, "brain": brain, "chest": chest}


def write_pairs(folder: Path, count: int, kind: str, size: tuple[int, int], seed: int = 0) -> None:
    """Write `count` phantoms, of `seed` and the seeds after it, as folder/images/NNN.png and folder/masks/NNN.png."""
    for number in range(count):
        for name, array in zip(("images", "masks"), draw(kind, seed + number, size), strict=True):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / name / f"{number:03d}.png")


def write_examples(folder: Path) -> None:
    """Write each of `EXAMPLES` as KIND-N.png, stamped SYNTHETIC, and KIND-N_mask.png: the same bytes every time."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, seeds in EXAMPLES.items():
        for number, seed in enumerate(seeds, start=1):
            pixels, mask = draw(kind, seed)
            stamped(pixels).save(folder / f"{kind}-{number}.png", optimize=True)
            Image.fromarray(mask).save(folder / f"{kind}-{number}_mask.png", optimize=True)


def stamped(pixels: np.ndarray) -> Image.Image:
    """The image with SYNTHETIC at the lower right, in Pillow's bitmap font, which no font renderer changes."""
    image, font = Image.fromarray(pixels), ImageFont.load_default_imagefont()
    _, _, width, height = font.getbbox("SYNTHETIC")
    left, top = image.width - width - 8, image.height - height - 8
    pen = ImageDraw.Draw(image)
    pen.rectangle((left - 3, top - 2, left + width + 2, top + height + 1), fill="black")
    pen.text((left, top), "SYNTHETIC", fill="white", font=font)
    return image


if __name__ == "__main__":
    write_examples(shipped("assets/examples"))
