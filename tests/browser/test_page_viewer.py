"""The viewer and the sliders with a real mouse, keys and touch, in a real Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import pytest

from tests.browser.test_page import press, shown_image, slider_values, wait_for_another_image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

EXAMPLE_SIDE = 512


def look(page: Page) -> dict[str, Any]:
    """Where the image lies and what is drawn."""
    found: dict[str, Any] = page.evaluate(
        "() => { const { view, place, level, settings } = medseg.look(); return { view, place, level, settings } }"
    )
    return found


def middle(page: Page, share: float = 0.5) -> tuple[float, float]:
    box = page.locator("#viewer .stage").bounding_box()
    assert box
    return box["x"] + box["width"] * share, box["y"] + box["height"] * share


def painted(page: Page) -> int:
    """Pixels of the layer over the image that are not empty."""
    count: int = page.evaluate(
        """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {
            const over = document.querySelector('#viewer .over');
            const data = over.getContext('2d').getImageData(0, 0, over.width, over.height).data;
            let count = 0;
            for (let at = 3; at < data.length; at += 4) count += data[at] > 0;
            done(count);
        })))"""
    )
    return count


def test_numbers_of_another_image_are_not_seen_before_it_is_drawn(page: Page) -> None:
    page.evaluate(
        """() => {
            const make = createImageBitmap, wait = new Promise(done => { window.letCome = done });
            window.createImageBitmap = async (...about) => { await wait; return make(...about); };
        }"""
    )
    page.locator("#examples button").nth(2).click()
    page.wait_for_selector("#work.arriving")
    page.evaluate("() => document.dispatchEvent(new Event('medseg:waiting'))")  # as a slider does meanwhile
    assert page.inner_text("#file-name") == "Synthetic endoscopy"
    assert not page.locator("#figures p").first.is_visible()
    page.evaluate("() => letCome()")
    page.wait_for_selector("#work:not(.arriving)")
    assert page.inner_text("#file-name") == "Synthetic brain"
    assert page.locator("#figures p").first.is_visible()


def test_the_wheel_zooms_to_32_times_around_the_pointer_and_a_drag_moves(still: Page) -> None:
    fitted = look(still)["place"]
    still.mouse.move(*middle(still, 0.4))
    for _ in range(30):
        still.mouse.wheel(0, -120)
    still.wait_for_function("() => medseg.look().place.zoom === 32")
    before = look(still)["place"]
    still.mouse.down()
    still.mouse.move(*middle(still, 0.5), steps=4)
    still.mouse.up()
    assert look(still)["place"]["x"] > before["x"]
    still.get_by_role("button", name="Fit the image").click()
    assert look(still)["place"] == fitted


def test_two_fingers_zoom(browser: Browser, server: str) -> None:
    from tests.running_app import open_page

    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    phone = open_page(context, server)
    before = look(phone)["place"]["zoom"]
    x, y = middle(phone)
    touch = context.new_cdp_session(phone)

    def fingers(kind: str, apart: float) -> None:
        points = [] if kind == "touchEnd" else [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", 20)
    for apart in (40, 60, 80):
        fingers("touchMove", apart)
    fingers("touchEnd", 0)
    assert look(phone)["place"]["zoom"] > 2 * before
    context.close()


def test_keys_choose_the_view_hide_the_mask_and_turn_the_cut_off(page: Page) -> None:
    page.locator("#viewer .stage").focus()
    page.keyboard.press("3")
    assert look(page)["view"] == "probability"
    page.keyboard.press("1")
    assert painted(page) > 0
    page.keyboard.down(" ")
    assert painted(page) == 0
    page.keyboard.up(" ")
    assert painted(page) > 0
    before = shown_image(page)
    page.keyboard.press("]")
    wait_for_another_image(page, before)
    assert slider_values(page)[2] == pytest.approx(0.51)


def test_a_slider_under_the_mouse_draws_without_a_request_until_it_is_let_go(page: Page) -> None:
    box = page.locator("#mixer .member input").first.bounding_box()
    assert box
    page.wait_for_timeout(500)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    before, result = painted(page), shown_image(page)
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 1, box["y"] + box["height"] / 2, steps=10)
    assert painted(page) != before
    assert asked == []
    page.mouse.up()
    wait_for_another_image(page, result)
    assert asked


def test_the_last_model_stays_and_says_so_and_my_mix_comes_back(page: Page) -> None:
    press(page, 0, "Home")
    handle = page.locator("#mixer .member input").nth(1)
    handle.focus()
    page.keyboard.press("Home")
    assert "the last one stays" in page.inner_text("#mixer .said")
    assert slider_values(page)[:2] == [0, 0.01]
    page.get_by_role("button", name="Recommended").click()
    assert slider_values(page)[:2] == [0.75, 0.25]
    assert page.inner_text("#mixer .said") == ""
    page.get_by_role("button", name="My mix").click()
    assert slider_values(page)[:2] == [0, 0.01]
    assert "the last one stays" in page.inner_text("#mixer .said")


def test_the_value_under_the_pointer_is_of_the_image_and_the_settings_that_are_drawn(page: Page) -> None:
    value = page.locator("#viewer .reading")
    page.mouse.move(*middle(page, 0.45))
    before = value.inner_text()
    assert before.endswith("%")
    page.keyboard.press("+")  # another pixel comes under the pointer, which rests
    page.wait_for_function(
        "before => !document.querySelector('#viewer .reading').innerText.startsWith(before)", arg=before.split(":")[0]
    )
    page.locator("#examples button").nth(2).click()  # the pointer leaves
    page.wait_for_function("() => document.querySelector('#file-name').innerText === 'Synthetic brain'")
    assert value.inner_text() == ""


def test_a_cut_off_out_of_range_is_said_and_a_question_mark_lists_the_keys_wherever_none_is_typed(page: Page) -> None:
    page.fill("#cut-typed", "1.5")
    for field in "#blend", "#flips", "#cut-typed", "#cut":
        page.evaluate("document.querySelector('#fine-settings').open = true")
        page.focus(field)
        page.keyboard.press("?")
        assert page.locator("#all-keys").is_visible(), field
        page.keyboard.press("?")
        assert page.locator("#all-keys").is_hidden()
        assert page.inner_text("#mixer .said") == "The cut-off goes from 0.01 to 0.99."
    assert page.input_value("#cut-typed") == "0.50"
    page.evaluate("document.body.append(Object.assign(document.createElement('input'), { id: 'typed' }))")
    page.focus("#typed")
    page.keyboard.press("?")
    assert (page.input_value("#typed"), page.locator("#all-keys").is_visible()) == ("?", False)


def test_a_window_of_a_desktop_shows_the_whole_page_without_an_empty_scroll(page: Page) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    assert page.evaluate("document.documentElement.scrollHeight") == 900


def test_recommended_resets_cut_off_vote_flips_and_least_area(page: Page) -> None:
    page.select_option("#blend", "median")
    page.fill("#cut-typed", "0.8")
    page.click("#fine-settings summary")
    page.fill("#least", "50")
    page.get_by_label("Average over flips").check()
    page.get_by_role("button", name="Recommended").click()
    page.wait_for_function("() => document.querySelector('#summary').innerText.includes('at cut-off 0.50')")
    assert (page.input_value("#blend"), page.input_value("#least"), page.is_checked("#flips")) == (
        "weighted mean",
        "0",
        False,
    )


def test_a_link_opens_the_page_as_it_stood(page: Page, server: str) -> None:
    press(page, 0, "Home")
    page.wait_for_function("() => location.hash.includes('weights=0')")
    address = page.url
    assert "endoscopy" not in address
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_function("() => document.querySelector('#mixer .member input')?.value === '0'")
    page.wait_for_function("() => !document.querySelector('#trust').innerText.includes('Predicted Dice')")


def test_back_and_forward_take_the_settings_with_them(page: Page) -> None:
    press(page, 0, "Home")
    press(page, 0, "ArrowRight")  # the same slider: one step of the history
    press(page, 2, "End")
    assert slider_values(page)[:3] == [0.01, 0.25, 0.99]
    for go, values in (
        (page.go_back, [0.01, 0.25, 0.5]),
        (page.go_back, [0.75, 0.25, 0.5]),
        (page.go_forward, [0.01, 0.25, 0.5]),
    ):
        before = shown_image(page)
        go()
        wait_for_another_image(page, before)
        assert slider_values(page)[:3] == values


def test_a_dropped_file_opens_under_its_name_and_the_network_lost_is_said(page: Page, tmp_path: Path) -> None:
    PIL.Image.fromarray(np.full((40, 60, 3), 120, np.uint8)).save(tmp_path / "x.png")
    before = shown_image(page)
    page.evaluate(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(bytes)], 'my scan.png', { type: 'image/png' }));
            const at = { bubbles: true, cancelable: true, dataTransfer: transfer };
            document.querySelector('#viewer .stage').dispatchEvent(new DragEvent('drop', at));
        }""",
        list((tmp_path / "x.png").read_bytes()),
    )
    wait_for_another_image(page, before)
    assert page.inner_text("#file-name") == "my scan.png"
    page.context.set_offline(True)
    page.wait_for_selector("text=You are offline")
    assert page.inner_text("#file-name") == "my scan.png"
    page.context.set_offline(False)
    page.wait_for_selector("text=You are offline", state="hidden")


def test_grey_is_windowed_by_a_drag_of_the_right_button(page: Page, tmp_path: Path) -> None:
    PIL.Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 15).save(tmp_path / "grey.png")
    before = shown_image(page)
    page.set_input_files("#upload input[type=file]", tmp_path / "grey.png")
    wait_for_another_image(page, before)
    page.mouse.move(*middle(page))
    page.mouse.down(button="right")
    page.mouse.move(*middle(page, 0.7), steps=4)
    page.mouse.up(button="right")
    low, high = look(page)["level"]
    assert 0 < high - low < 1


def test_compare_shows_the_image_alone_left_of_the_line(still: Page) -> None:
    still.get_by_role("button", name="Compare", exact=True).click()
    still.mouse.move(*middle(still))
    still.mouse.down()
    still.mouse.move(*middle(still, 0.25), steps=3)
    still.mouse.up()
    assert still.evaluate("() => document.querySelector('#viewer .over').style.clipPath").startswith(
        "inset(0px 0px 0px 2"
    )
    still.get_by_role("button", name="Compare", exact=True).click()


def test_what_is_seen_is_copied_with_its_legend(still: Page) -> None:
    still.context.grant_permissions(["clipboard-read", "clipboard-write"])
    still.get_by_role("button", name="Copy what I see").click()
    still.wait_for_selector("#viewer .reading:has-text('Copied.')")
    width, height, shown = still.evaluate(
        """async () => {
            const [item] = await navigator.clipboard.read();
            const bitmap = await createImageBitmap(await item.getType('image/png'));
            const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');
            context.drawImage(bitmap, 0, 0);
            const caption = context.getImageData(0, bitmap.height - 44, bitmap.width, 44).data;
            return [bitmap.width, bitmap.height, caption.filter((value, at) => at % 4 < 3 && value > 100).length];
        }"""
    )
    stage = still.locator("#viewer .stage").bounding_box()
    assert stage
    assert (width, height) == (round(stage["width"]), round(stage["height"]) + 44)
    assert shown > 1000  # bright pixels of the legend and the notice


def test_who_pulls_the_result_where_follows_the_sliders(page: Page) -> None:
    page.wait_for_selector("#pull tbody tr")
    before = page.inner_text("#pull tbody")
    assert [line.split()[0] for line in before.splitlines()] == ["random-0", "random-1"]
    press(page, 0, "ArrowLeft")
    press(page, 2, "End")
    page.wait_for_function("before => document.querySelector('#pull tbody').innerText !== before", arg=before)
    press(page, 0, "Home")  # of one model alone nothing is to be said
    page.wait_for_selector("#pull table", state="hidden")


def test_the_address_names_the_ensemble_that_is_shown_also_after_going_back(page: Page) -> None:
    press(page, 0, "Home")
    page.locator("#ensemble input").click()
    page.get_by_role("option", name="polyp", exact=True).click()
    page.wait_for_function("() => location.hash.startsWith('#ensemble=polyp')")
    page.go_back()
    page.wait_for_function("() => location.hash.startsWith('#ensemble=polyp')")


def test_the_captions_of_the_examples_fit(still: Page) -> None:
    widths = still.evaluate("[...document.querySelectorAll('#examples span')].map(e => e.scrollWidth - e.clientWidth)")
    assert widths
    assert max(widths) <= 0
