"""The real page in a real browser, with models that read the same digits in every picture."""

import base64
import threading

import pytest
from playwright.sync_api import expect

from mnist_vision import load_predictor
from tests.inference.web.drawing import (
    FOUR,
    ONE,
    SEVEN,
    THREE,
    card,
    draw,
    draw_by_touch,
    expect_answers,
    ink_on,
)
from tests.inference.web.fakes import FakePredictor, picture, serve, wait_until

FILE = {"name": "digits.png", "mimeType": "image/png", "buffer": picture((300, 120), 2)}


def expect_empty(page):
    expect(page.locator(".card.is-empty")).to_have_count(page.locator(".card").count())
    expect(page.locator(".seen img")).to_have_count(0)
    assert ink_on(page) == ink_on(page, "overlay") == 0


def give(page, event, how):
    """Hands a file to the page as the browser does when a person pastes or drops one."""
    page.evaluate(
        """([event, how, text]) => {
          const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
          const data = new DataTransfer();
          data.items.add(new File([bytes], "digits.png", { type: "image/png" }));
          const options = { bubbles: true, cancelable: true, [how]: data };
          const Kind = event === "paste" ? ClipboardEvent : DragEvent;
          document.getElementById("pad").dispatchEvent(new Kind(event, options));
        }""",
        [event, how, base64.b64encode(FILE["buffer"]).decode()],
    )


@pytest.fixture
def pictures(monkeypatch):
    """The pictures that the server got, as grey images."""
    from mnist_vision.inference.web import server

    got, read_picture = [], server.read_picture

    def read(source):
        picture = read_picture(source)
        got.append(picture.pixels)
        return picture

    monkeypatch.setattr(server, "read_picture", read)
    return got


def test_the_answers_come_while_one_draws_with_the_mouse(page):
    expect_empty(page)
    draw(page, SEVEN, lifts=False)
    expect_answers(page)
    assert ink_on(page, "overlay") > 0  # boxes
    expect(page.locator("#answers")).to_have_text("")
    page.mouse.up()
    expect(page.locator("#answers")).to_have_text(
        "cnn: 3, 91.0 % sure. faster_rcnn: 4 7, 91.0 % sure."
    )
    expect(page.locator("#answers")).to_have_attribute("aria-live", "polite")


def test_a_finger_draws_and_does_not_scroll(open_page):
    page = open_page(viewport={"width": 390, "height": 500}, has_touch=True, is_mobile=True).page
    assert page.evaluate("document.documentElement.scrollHeight > innerHeight")
    draw_by_touch(page, [[(0.5, 1.0), (0.5, 0.0)], [(0.2, 0.5), (0.8, 0.5)]])
    assert ink_on(page) > 0
    assert page.evaluate("scrollY") == 0
    expect_answers(page)


def test_the_server_gets_black_ink_on_white_in_both_themes(open_page, pictures):
    for theme in ("light", "dark"):
        page = open_page(color_scheme=theme).page
        draw(page, ONE)
        expect_answers(page)
        # The drawing is sent while it is drawn, too.
        wait_until(lambda: pictures and pictures[-1][180, 240] == 0)
        grey = pictures[-1]
        assert grey.shape == (360, 480)
        assert (grey == 255).mean() > 0.9
        pictures.clear()


def test_the_server_gets_the_last_drawing_and_one_request_at_a_time(open_page, pictures):
    under_way, most = set(), [0]
    with serve(FakePredictor(before=lambda: threading.Event().wait(0.15))) as port:
        page = open_page(port).page

        def start(request):
            under_way.add(request)
            most[0] = max(most[0], len(under_way))

        page.on("request", lambda request: start(request) if "predict" in request.url else None)
        page.on("requestfinished", lambda request: under_way.discard(request))
        draw(page, [*SEVEN, [(0.1, 0.5), (0.9, 0.5)]], steps=40)
        expect(page.locator("#answers")).to_have_text("cnn: 3, 91.0 % sure.")
    assert most == [1]
    assert 1 < len(pictures) < 60
    assert pictures[-1][180, int(480 * (0.35 + 0.3 * 0.9))] == 0


def test_undo_takes_back_one_stroke_and_clear_all(page):
    draw(page, FOUR)
    both = ink_on(page)
    page.get_by_role("button", name="Undo").click()
    one = ink_on(page)
    assert 0 < one < both
    expect_answers(page)
    page.get_by_role("button", name="Clear").click()
    expect_empty(page)
    expect(page.get_by_role("button", name="Clear")).to_be_disabled()
    page.keyboard.press("Control+z")
    assert ink_on(page) == one
    expect_answers(page)
    page.keyboard.press("Delete")
    expect_empty(page)


def test_the_keyboard_draws(page, pictures):
    page.keyboard.press("Tab")
    expect(page.locator("#canvas")).to_be_focused()
    page.keyboard.press("ArrowDown")
    assert ink_on(page) == 0  # the pen is up
    page.keyboard.press(" ")
    for _ in range(6):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowRight")
    down = ink_on(page)
    expect_answers(page)
    page.keyboard.press(" ")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert ink_on(page) == down > 0  # the pen is up again
    expect(page.locator("#answers")).to_contain_text("cnn: 3")
    ink = pictures[-1] < 128
    assert ink.any(axis=1).sum() == pytest.approx((6 * 30 + 34) / 2, abs=2)
    assert ink.any(axis=0).sum() == pytest.approx((6 + 34) / 2, abs=2)
    page.keyboard.press("Control+z")
    assert ink_on(page) == 0


def test_the_keyboard_reaches_every_control(page):
    draw(page, SEVEN)
    expect_answers(page)
    page.locator("#canvas").focus()
    reached = []
    for _ in range(7):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "(({ id, ariaLabel, textContent }) => id || ariaLabel || textContent)"
                "(document.activeElement)"
            )
        )
    first_card = ["Digit 1: 3, 91.0 %", "Where it looks: cnn"]
    second_card = ["Digit 1: 4, 91.0 %", "Digit 2: 7, 91.0 %"]
    assert reached == ["undo", "clear", "upload", *first_card, *second_card]
    page.keyboard.press("Enter")  # chooses the second digit
    expect(card(page, "faster_rcnn").locator(".bar.is-best")).to_have_text("7")
    expect(page.get_by_role("button", name=second_card[1])).to_be_focused()
    expect(card(page, "faster_rcnn").get_by_role("img")).to_have_attribute(
        "aria-label",
        "Probabilities: " + ", ".join(f"{d}: {'91.0' if d == 7 else '1.0'} %" for d in range(10)),
    )


def test_a_picture_is_opened(page, pictures):
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Picture").click()
    chooser.value.set_files(FILE)
    expect_answers(page)
    assert pictures[-1].shape == (120, 300)
    assert ink_on(page) > 0


@pytest.mark.parametrize(("event", "how"), [("paste", "clipboardData"), ("drop", "dataTransfer")])
def test_a_picture_is_pasted_or_dropped(page, pictures, event, how):
    give(page, event, how)
    expect_answers(page)
    assert pictures[-1].shape == (120, 300)


def test_a_stroke_on_a_picture_begins_a_drawing_and_undo_brings_the_picture_back(page, pictures):
    give(page, "paste", "clipboardData")
    expect_answers(page)
    shown = ink_on(page)
    draw(page, ONE)
    assert 0 < ink_on(page) < shown
    expect(page.locator("#answers")).to_contain_text("cnn")
    assert pictures[-1].shape == (360, 480)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#answers")).to_contain_text("cnn")
    assert ink_on(page) == shown
    assert pictures[-1].shape == (120, 300)


def test_boxes_lie_over_the_digits_of_a_picture(page):
    give(page, "paste", "clipboardData")
    expect_answers(page)
    # The detector's first box begins at (20, 30) in the 300 pixels, which fill the pad's width.
    edge = page.evaluate(
        """() => {
          const { width, height } = document.getElementById("overlay");
          const context = document.getElementById("overlay").getContext("2d");
          const scale = width / 300;
          const y = (height - 120 * scale) / 2 + 60 * scale;
          const row = context.getImageData(0, y, width, 1).data;
          const painted = [...Array(width).keys()].filter((x) => row[4 * x + 3] > 200);
          return painted.map((x) => x / scale);
        }"""
    )
    assert {round(x) for x in edge} == {20, 70, 80, 130}


def test_a_file_that_is_no_picture_is_explained(open_page):
    opened = open_page()
    opened.page.set_input_files("#file", {**FILE, "buffer": b"no picture"})
    expect(opened.page.get_by_role("alert")).to_contain_text("picture")
    expect(opened.page.locator(".card.is-empty")).to_have_count(2)
    wait_until(lambda: opened.errors)
    assert all("400 (Bad Request)" in error for error in opened.errors)
    opened.errors.clear()
    draw(opened.page, ONE)
    expect_answers(opened.page)
    expect(opened.page.get_by_role("alert")).to_have_text("")


def test_a_file_that_is_too_large_is_not_sent(open_page, tmp_path):
    opened = open_page()
    (tmp_path / "large.png").write_bytes(bytes(17 * 2**20))
    opened.page.set_input_files("#file", tmp_path / "large.png")
    expect(opened.page.get_by_role("alert")).to_have_text("The picture is larger than 16 MB.")
    assert not any("predict" in url for url in opened.requests)


def test_a_busy_server_is_asked_again_silently(open_page):
    opened = open_page()
    busy = [True, True]

    def answer(route):
        if busy:
            busy.pop()
            route.fulfill(status=503, json={"error": "busy"}, headers={"Retry-After": "1"})
        else:
            route.continue_()

    opened.page.route("**/api/predict", answer)
    draw(opened.page, ONE)
    expect_answers(opened.page)
    expect(opened.page.get_by_role("alert")).to_have_text("")
    assert all("503" in error for error in opened.errors)
    opened.errors.clear()


def test_a_server_that_is_gone_is_reported_until_it_is_back(open_page):
    opened = open_page()
    opened.page.route("**/api/predict", lambda route: route.abort())
    draw(opened.page, ONE)
    expect(opened.page.get_by_role("alert")).to_have_text(
        "The server does not answer. Is it still running?"
    )
    opened.page.unroute("**/api/predict")
    expect_answers(opened.page)
    expect(opened.page.get_by_role("alert")).to_have_text("")
    assert all("ERR_FAILED" in error for error in opened.errors)
    opened.errors.clear()


def test_a_model_that_finds_no_digit_says_so(open_page):
    with serve(FakePredictor(digits=())) as port:
        page = open_page(port).page
        draw(page, ONE)
        expect(page.locator(".digits")).to_have_text("No digit found")
        expect(page.locator("#answers")).to_have_text("cnn: no digit found.")


def test_a_trained_network_reads_what_is_drawn(open_page, trained_cnn):
    predictor = load_predictor(trained_cnn)
    with serve(predictor) as port:
        page = open_page(port).page
        draw(page, SEVEN)
        expect(card(page, "cnn").locator(".digits")).to_have_text("7")
        draw(page, ONE, (0.85, 0.15, 0.1, 0.7))
        expect(card(page, "cnn").locator(".digits")).to_have_text("71")
        draw(page, FOUR, (0.05, 0.15, 0.2, 0.7))
        expect(card(page, "cnn").locator(".digits")).to_have_text("471")
        page.get_by_role("button", name="Clear").click()
        draw_by_touch(page, THREE)
        expect(card(page, "cnn").locator(".digits")).to_have_text("3")


def explained(requests):
    return [url.partition("model=")[2] for url in requests if "/api/explain" in url]


def test_a_card_shows_where_its_network_looks_only_when_asked(open_page):
    here = open_page()
    page = here.page
    draw(page, SEVEN)
    expect_answers(page)
    plain = page.locator(".seen img").first.get_attribute("src")
    button = card(page, "cnn").get_by_role("button", name="Where it looks: cnn")
    expect(button).to_have_attribute("aria-pressed", "false")
    assert explained(here.requests) == []
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    image = card(page, "cnn").locator(".seen img")
    expect(image).not_to_have_attribute("src", plain)
    assert explained(here.requests) == ["cnn"]
    with page.expect_request(lambda request: "/api/explain" in request.url):
        draw(page, ONE)  # asks again, once nothing is drawn any more
    expect(image).not_to_have_attribute("src", plain)
    assert set(explained(here.requests)) == {"cnn"}
    button.click()
    expect(image).to_have_attribute("src", plain)


def test_drawing_never_waits_for_a_heat_map(open_page):
    here = open_page()
    page = here.page
    card(page, "cnn").get_by_role("button", name="Where it looks: cnn").click()
    draw(page, SEVEN, lifts=False)
    expect_answers(page)
    image = card(page, "cnn").locator(".seen img")
    plain = image.get_attribute("src")
    assert explained(here.requests) == []
    page.mouse.up()
    expect(image).not_to_have_attribute("src", plain)
    assert explained(here.requests) == ["cnn"]


def test_a_network_without_gradients_has_no_button(open_page):
    with serve(FakePredictor(obstacle="needs a checkpoint")) as port:
        page = open_page(port).page
        expect(page.locator(".look")).to_have_count(1)
        expect(page.locator(".look")).to_be_hidden()
