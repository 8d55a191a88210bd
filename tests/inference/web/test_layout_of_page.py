"""The page in narrow and wide windows, in light and dark, and what it tells screen readers."""

import pytest
from playwright.sync_api import expect

from tests.inference.web.drawing import SEVEN, draw, expect_answers
from tests.inference.web.fakes import FakePredictor, serve

SIZES = [(360, 740), (390, 844), (820, 1180), (1400, 900)]


@pytest.fixture(scope="module")
def crowded_port():
    """A server whose models read many digits and have long names."""
    names = ["cnn", "vgg16", "faster_rcnn", "faster_rcnn 2", "a_very_long_name_of_an_architecture"]
    with serve(
        *(FakePredictor(name, [*range(10), 1, 2], "rcnn" in name) for name in names)
    ) as port:
        yield port


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_nothing_is_wider_than_the_window(open_page, crowded_port, size, theme):
    viewport = {"width": size[0], "height": size[1]}
    page = open_page(crowded_port, viewport=viewport, color_scheme=theme).page
    for number_of_images in (0, 5 * 12):
        expect(page.locator(".seen img")).to_have_count(number_of_images)
        wide = page.evaluate(
            """() => [...document.querySelectorAll("header *, main *")]
              .filter((each) => each.getBoundingClientRect().right > innerWidth - 15)
              .map((each) => each.outerHTML)"""
        )
        assert wide == []
        assert page.evaluate("document.documentElement.scrollWidth") == size[0]
        cut = page.evaluate(
            """() => [...document.querySelectorAll(".card, .card *, .tools button")]
              .filter((each) => each.scrollWidth > each.clientWidth + 1 && each.clientWidth > 0)
              .map((each) => each.outerHTML)"""
        )
        assert cut == []
        draw(page, SEVEN)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_its_ground(open_page, theme):
    """Contrast of at least 4.5, as WCAG asks."""
    page = open_page(color_scheme=theme).page
    draw(page, SEVEN)
    expect_answers(page)
    weakest = page.evaluate(
        """() => {
          const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
          const light = (text) => {
            const parts = rgb(text).slice(0, 3).map((each) => each / 255)
              .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4));
            return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
          };
          const ground = (each) => {
            const { backgroundColor } = getComputedStyle(each);
            return rgb(backgroundColor)[3] === 0 ? ground(each.parentElement) : backgroundColor;
          };
          const texts = "h1, h2, p, kbd, .time, .confidence, .bar, button";
          const contrasts = [...document.body.querySelectorAll(texts)]
            .filter((each) => !each.disabled && !each.classList.contains("reader"))
            .map((each) => {
              const [a, b] = [light(getComputedStyle(each).color), light(ground(each))];
              return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            });
          return Math.min(...contrasts);
        }"""
    )
    assert weakest >= 4.5


def test_every_control_has_a_name(page):
    draw(page, SEVEN)
    expect_answers(page)
    controls = page.locator("button, canvas[tabindex]")
    names = [
        controls.nth(each).evaluate("(it) => it.ariaLabel || it.textContent.trim()")
        for each in range(controls.count())
    ]
    assert all(names)
    assert len(set(names)) == len(names)
    described_by = page.locator("#canvas").get_attribute("aria-describedby")
    expect(page.locator(f"#{described_by}")).to_contain_text("arrow keys")
