"""Drawing in the viewer with a real mouse, keys and touch, and the files and numbers that come of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import medseg
from medseg import metrics
from medseg.data.rle import encode_rle
from medseg.data.samples import load_data
from tests.browser.test_page import press
from tests.conftest import ROOT
from tests.running_app import open_page

pytest.importorskip("gradio")

from medseg.app.viewer.components import read

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

EXAMPLE = ROOT / "assets" / "examples" / "endoscopy-1.png"
SIDE = 512


@pytest.fixture(scope="module")
def visitor(browser: Browser, server: str) -> Iterator[Page]:
    """One visitor's page for all tests here; the browser's question before leaving is answered with yes."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, accept_downloads=True)
    yield open_page(context, server)
    context.close()


@pytest.fixture
def canvas(visitor: Page) -> Page:
    """The page with the brush in hand, on an empty mask of the first example."""
    if visitor.evaluate("() => Boolean(medseg.drawing)"):
        visitor.click("[data-do=discard]")
        visitor.wait_for_function("() => !medseg.drawing")
    begin(visitor, "nothing")
    visitor.click("[data-do=fit]")
    return visitor


def begin(page: Page, beginning: str) -> None:
    if page.locator(".pens").is_hidden():
        page.click("[data-do=pens]")
    page.click(f"[data-begin={beginning}]")
    page.wait_for_function("() => medseg.drawing && !document.querySelector('.drawing').hidden")


def on_screen(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where the pixel (x, y) of the image lies in the window."""
    box = page.locator("#viewer .stage").bounding_box()
    place: dict[str, float] = page.evaluate("() => medseg.look().place")
    assert box
    return box["x"] + place["x"] + x * place["zoom"], box["y"] + place["y"] + y * place["zoom"]


def drag(page: Page, *places: tuple[float, float]) -> None:
    page.mouse.move(*on_screen(page, *places[0]))
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*on_screen(page, *place), steps=6)
    page.mouse.up()


def masks(page: Page, label: int = 0) -> np.ndarray:
    """What is drawn, as the browser has it."""
    text: str = page.evaluate("k => medseg.drawing.now[k].join('')", label)
    return (np.frombuffer(text.encode(), np.uint8) == ord("1")).reshape(SIDE, SIDE)


def confirmed(page: Page) -> str:
    """The scores beside the drawing, once the library has counted the last stroke."""
    page.wait_for_selector(".scores[data-by=library]")
    return page.inner_text(".scores")


def open_example(page: Page, number: int) -> None:
    page.evaluate("() => { window.opened = medseg.look().open }")
    page.locator("#examples button").nth(number).click()
    page.wait_for_function("() => medseg.look().open !== window.opened")


def scores(page: Page) -> Locator:
    return page.locator("#scores tr", has_text="Ensemble").first


def test_a_stroke_is_scored_at_once_and_by_the_library_and_becomes_a_pair(
    canvas: Page, tmp_path: Path, tiny_ensemble: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    canvas.mouse.move(*on_screen(canvas, 150, 200))
    canvas.mouse.down()
    canvas.mouse.move(*on_screen(canvas, 350, 200), steps=8)
    canvas.wait_for_selector(".scores[data-by=browser]:has-text('Dice')")
    canvas.wait_for_timeout(100)
    live = canvas.inner_text(".scores")
    canvas.mouse.up()
    mask = masks(canvas)
    assert mask[200, 150:350].all()
    assert abs(np.nonzero(mask)[0].mean() - 199.5) < 1
    ours = medseg.Ensemble.from_pretrained(tiny_ensemble).predict(medseg.read_image(EXAMPLE)).masks[0]
    counts = metrics.confusion(ours, mask)
    assert confirmed(canvas) == live == f"Dice {counts.dice:.3f} · IoU {counts.iou:.3f} · +{mask.sum():,} −0 px"
    canvas.wait_for_function("() => document.querySelector('#scores').innerText.includes('begun with an empty mask')")
    assert f"{counts.dice:.3f}" in scores(canvas).inner_text()

    assert canvas.evaluate("() => !dispatchEvent(new Event('beforeunload', {cancelable: true}))")
    with canvas.expect_download() as download:
        canvas.click("[data-do=pair]")
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    image, pair = load_data(path, labels=["blob"]).samples[0].read(["blob"])
    assert np.array_equal(image.pixels, medseg.read_image(EXAMPLE).pixels)
    assert np.array_equal(pair[0], mask)
    assert canvas.evaluate("() => dispatchEvent(new Event('beforeunload', {cancelable: true}))")


def test_keys_take_the_tools_undo_and_size_them(canvas: Page) -> None:
    drag(canvas, (100, 100), (200, 100))
    first = masks(canvas)
    canvas.keyboard.press("]")
    canvas.keyboard.press("]")
    canvas.keyboard.press("e")
    drag(canvas, (150, 100), (150, 101))
    cut = masks(canvas)
    assert not cut[95:105, 145:155].any()
    assert cut[100, 110]
    canvas.keyboard.press("Control+z")
    assert np.array_equal(masks(canvas), first)
    canvas.keyboard.press("Control+Shift+z")
    assert np.array_equal(masks(canvas), cut)
    canvas.keyboard.press("Control+z")
    canvas.keyboard.press("Control+z")
    assert not masks(canvas).any()
    assert canvas.locator("[data-do=undo]").is_disabled()
    canvas.keyboard.press("b")
    for _ in range(30):
        canvas.keyboard.press("[")
    drag(canvas, (50, 50), (50, 50))
    assert np.argwhere(masks(canvas)).tolist() == [[50, 50]]
    assert float(canvas.input_value("#cut-typed")) == 0.5  # the same keys, without a tool


def test_a_polygon_is_closed_by_its_first_corner_or_enter(canvas: Page) -> None:
    canvas.keyboard.press("p")
    for corner in ((100, 100), (300, 100), (300, 300), (100, 300), (100, 100)):
        canvas.mouse.click(*on_screen(canvas, *corner))
    inside = masks(canvas)
    assert inside[110:290, 110:290].all()
    assert inside.sum() == pytest.approx(200 * 200, rel=0.02)
    for corner in ((10, 10), (60, 10), (60, 60), (400, 400)):
        canvas.mouse.click(*on_screen(canvas, *corner))
    canvas.keyboard.press("Backspace")
    canvas.keyboard.press("Enter")
    assert masks(canvas).sum() - inside.sum() == pytest.approx(50 * 50 / 2, rel=0.1)


def test_keys_alone_begin_draw_and_cut_out(canvas: Page) -> None:
    canvas.click("[data-do=discard]")
    canvas.wait_for_function("() => !medseg.drawing")
    canvas.mouse.move(5, 5)
    for key in ("b", "Tab", "Enter"):  # Begin with: nothing
        canvas.keyboard.press(key)
    canvas.wait_for_selector(".ring.keys")  # in the middle of the image
    canvas.locator(".size").fill("16")
    canvas.locator(".stage").focus()
    for key in (" ", *["Shift+ArrowRight"] * 5, "Enter", "ArrowDown"):
        canvas.keyboard.press(key)
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    line = np.hypot(columns - columns.clip(256.5, 306.5), rows - 256.5) <= 8
    assert np.array_equal(masks(canvas), line)
    steps = (["Shift+ArrowUp"] * 2, ["Shift+ArrowLeft"] * 2, ["Shift+ArrowDown"] * 4)
    for key in ("x", " ", *(key for step in steps for key in (*step, " ")), "Enter"):
        canvas.keyboard.press(key)
    inside = (columns >= 286.5) & (columns < 306.5) & (rows >= 237.5) & (columns < 564 - rows)
    assert np.array_equal(masks(canvas), line & ~inside)
    assert canvas.locator(".ring.keys").is_visible()
    canvas.keyboard.press("?")
    assert canvas.locator("#all-keys").is_visible()
    canvas.keyboard.press("Escape")
    assert canvas.locator("#all-keys").is_hidden()


def test_a_stroke_is_shown_once_a_frame_however_many_moves_it_has(canvas: Page) -> None:
    x, y = on_screen(canvas, 100, 400)
    canvas.mouse.move(x, y)
    canvas.mouse.down()
    shown = canvas.evaluate(
        """async ([x, y]) => {
            const frame = () => new Promise(requestAnimationFrame), kind = OffscreenCanvasRenderingContext2D.prototype;
            await frame(), await frame();
            const put = kind.putImageData;
            let count = 0;
            kind.putImageData = function (...about) { count++; return put.apply(this, about); };
            for (let n = 1; n <= 40; n++) {
                const about = { pointerId: 1, bubbles: true, clientX: x + n, clientY: y };
                const coalescedEvents = [new PointerEvent("pointermove", about)];
                const event = new PointerEvent("pointermove", { ...about, coalescedEvents });
                document.querySelector(".stage").dispatchEvent(event);
            }
            await frame(), await frame();
            kind.putImageData = put;
            return count;
        }""",
        [x, y],
    )
    canvas.mouse.up()
    assert shown == 1
    end = 100 + 40 / canvas.evaluate("() => medseg.look().place.zoom")
    assert masks(canvas)[400, 100 : int(end)].all()


def test_zoomed_a_stroke_lies_where_the_pointer_was(canvas: Page) -> None:
    canvas.mouse.move(*on_screen(canvas, 256, 256))
    for _ in range(10):
        canvas.mouse.wheel(0, -120)
    canvas.wait_for_function("() => medseg.look().place.zoom > 4")
    drag(canvas, (250, 256), (262, 256))
    rows, columns = np.nonzero(masks(canvas))
    assert (rows.mean(), columns.mean()) == pytest.approx((255.5, 255.5), abs=1)


def test_it_begins_with_the_ensembles_mask_and_survives_a_slider_but_no_other_image(
    canvas: Page, tiny_ensemble: Path
) -> None:
    canvas.click("[data-do=discard]")
    canvas.wait_for_function("() => !medseg.drawing")
    begin(canvas, "ensemble")
    ours = medseg.Ensemble.from_pretrained(tiny_ensemble).predict(medseg.read_image(EXAMPLE)).masks[0]
    assert np.array_equal(masks(canvas), ours)
    canvas.keyboard.press("e")
    drag(canvas, (100, 256), (400, 256))
    corrected = masks(canvas)
    assert not (corrected & ~ours).any()
    assert confirmed(canvas).endswith(f"+0 −{(ours & ~corrected).sum():,} px")
    before = confirmed(canvas).split(" · ")[0]
    press(canvas, 0, "Home")
    canvas.wait_for_function("before => !document.querySelector('.scores').innerText.includes(before)", arg=before)
    assert np.array_equal(masks(canvas), corrected)
    canvas.get_by_role("button", name="Recommended").click()

    canvas.locator("#examples button").nth(1).click()  # asked, and answered with no
    assert canvas.evaluate("() => Boolean(medseg.drawing)")
    canvas.once("dialog", lambda dialog: dialog.accept())
    open_example(canvas, 1)
    assert not canvas.evaluate("() => medseg.drawing")
    assert "drawn" not in canvas.inner_text("#viewer .legend")
    canvas.wait_for_function("() => !document.querySelector('#scores').innerText.includes('drawn here')")
    open_example(canvas, 0)


def test_errors_are_a_view_with_the_librarys_counts(canvas: Page, tiny_ensemble: Path) -> None:
    canvas.click("[data-do=discard]")
    canvas.wait_for_function("() => !medseg.drawing")
    canvas.keyboard.press("7")
    truth = medseg.read_masks(EXAMPLE.with_name("endoscopy-1_mask.png"), ["blob"])[0]
    ours = medseg.Ensemble.from_pretrained(tiny_ensemble).predict(medseg.read_image(EXAMPLE)).masks[0]
    counts = metrics.confusion(ours, truth)
    canvas.wait_for_selector("#viewer .legend >> text=false alarm")
    legend = [f"hit {counts.tp:,} px", f"false alarm {counts.fp:,} px", f"miss {counts.fn:,} px"]
    wanted = [*legend, f"Dice {counts.dice:.3f} · IoU {counts.iou:.3f}"]
    assert canvas.locator("#viewer .legend > *").all_inner_texts() == wanted
    canvas.keyboard.press("1")


def test_a_finger_draws_and_two_pinch(browser: Browser, server: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    phone = open_page(context, server)
    touch = context.new_cdp_session(phone)
    phone.tap("[data-do=pens]")
    phone.tap("[data-begin=nothing]")
    phone.wait_for_function("() => medseg.drawing && !document.querySelector('.drawing').hidden")

    def fingers(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    start, end = on_screen(phone, 200, 250), on_screen(phone, 300, 250)
    fingers("touchStart", start)
    fingers("touchMove", end)
    fingers("touchEnd")
    drawn = masks(phone)
    assert drawn[250, 200:300].all()
    zoom: float = phone.evaluate("() => medseg.look().place.zoom")
    fingers("touchStart", start)
    fingers("touchStart", start, end)
    fingers("touchMove", (start[0] - 40, start[1]), (end[0] + 40, end[1]))
    fingers("touchEnd")
    assert phone.evaluate("() => medseg.look().place.zoom") > zoom
    assert np.array_equal(masks(phone), drawn)
    context.close()


def test_a_pixel_of_labels_that_exclude_each_other_has_one(browser: Browser) -> None:
    """The functions of draw.js alone, beside the library's."""
    page = browser.new_page()
    page.add_script_tag(content=read("draw.js"))
    result: Any = page.evaluate(
        """() => {
            const base = [0, 1].map(() => new Uint8Array(20 * 30)), drawing = newDrawing({}, base, 20, 30, true);
            const stroke = act => { beginStroke(drawing); act(); endStroke(drawing); };
            stroke(() => markLine(drawing, [3, 3], [15, 20], 5, 1));
            drawing.label = 1;
            stroke(() => markPolygon(drawing, [[0, 10], [20, 10], [20, 14], [0, 14]], 1));
            const now = drawing.now.map(mask => [...mask]), runs = strokesOf(drawing);
            undo(drawing);
            return [now, runs, drawing.now.map(mask => mask.reduce((a, b) => a + b, 0))];
        }"""
    )
    page.close()
    now, runs, undone = np.reshape(result[0], (2, 30, 20)).astype(bool), result[1], result[2]
    rows, columns = np.mgrid[:30, :20] + 0.5
    share = np.clip(((columns - 3) * 12 + (rows - 3) * 17) / (12**2 + 17**2), 0, 1)
    line = np.hypot(columns - 3 - 12 * share, rows - 3 - 17 * share) <= 2.5
    band = (rows > 10) & (rows < 14)
    assert np.array_equal(now, [line & ~band, band])
    assert runs[1] == [encode_rle(band, "counts"), encode_rle(line & ~band, "counts")]
    assert runs[0] == [encode_rle(line & ~band, "counts"), encode_rle(band, "counts")]
    assert undone == [line.sum(), 0]
