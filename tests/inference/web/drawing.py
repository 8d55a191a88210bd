"""Draw on the page in a real browser, by mouse or finger, and check what it shows."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from playwright.sync_api import Locator, Page, expect

Point = tuple[float, float]
Strokes = Sequence[Sequence[Point]]
# Where strokes are drawn: x, y, width and height as shares of the pad.
Place = tuple[float, float, float, float]

MIDDLE: Place = (0.35, 0.15, 0.3, 0.7)
ONE: Strokes = [[(0.5, 0.0), (0.5, 1.0)]]
SEVEN: Strokes = [[(0.0, 0.0), (1.0, 0.0), (0.4, 1.0)]]
THREE: Strokes = [
    [(0.1, 0.1), (0.5, 0.0), (0.9, 0.2), (0.5, 0.47), (0.9, 0.75), (0.5, 1.0), (0.1, 0.9)]
]
FOUR: Strokes = [[(0.6, 0.0), (0.0, 0.65), (1.0, 0.65)], [(0.75, 0.3), (0.75, 1.0)]]


def _on_screen(page: Page, strokes: Strokes, place: Place, steps: int) -> list[list[Point]]:
    """Points of strokes, given in a unit square, in pixels of the window."""
    canvas = page.locator("#canvas")
    canvas.scroll_into_view_if_needed()
    pad = canvas.bounding_box()
    assert pad is not None
    x, y, width, height = place
    lines = []
    for stroke in strokes:
        points = [stroke[0]]
        for (x1, y1), (x2, y2) in pairwise(stroke):
            parts = [(each + 1) / steps for each in range(steps)]
            points += [(x1 + part * (x2 - x1), y1 + part * (y2 - y1)) for part in parts]
        lines.append(
            [
                (
                    pad["x"] + pad["width"] * (x + width * px),
                    pad["y"] + pad["height"] * (y + height * py),
                )
                for px, py in points
            ]
        )
    return lines


def draw(
    page: Page, strokes: Strokes, place: Place = MIDDLE, *, steps: int = 8, lifts: bool = True
) -> None:
    """Draws strokes with the mouse.

    Args:
        page: The page.
        strokes: Lines through points `(x, y)` in a unit square, y downwards.
        place: Where the unit square lies on the pad.
        steps: Movements of the mouse between two points.
        lifts: Whether the button is released after the last stroke.
    """
    for number, points in enumerate(_on_screen(page, strokes, place, steps)):
        if number > 0:
            page.mouse.up()
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
    if lifts:
        page.mouse.up()


def draw_by_touch(page: Page, strokes: Strokes, place: Place = MIDDLE, *, steps: int = 8) -> None:
    """Draws strokes with a finger, as the browser's own input sends it."""
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *points: Point) -> None:
        fingers: list[Any] = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    for points in _on_screen(page, strokes, place, steps):
        touch("touchStart", points[0])
        for point in points[1:]:
            touch("touchMove", point)
        touch("touchEnd")


def ink_on(page: Page, canvas: str = "canvas") -> int:
    """Number of pixels of a canvas that are painted."""
    count: int = page.evaluate(
        """(id) => {
          const canvas = document.getElementById(id);
          const size = [canvas.width, canvas.height];
          // Of a copy, because reading would make the canvas itself slow.
          const copy = new OffscreenCanvas(...size).getContext("2d", { willReadFrequently: true });
          copy.drawImage(canvas, 0, 0);
          const { data } = copy.getImageData(0, 0, ...size);
          return data.filter((value, place) => place % 4 === 3 && value > 0).length;
        }""",
        canvas,
    )
    return count


def card(page: Page, name: str) -> Locator:
    """The card of a model."""
    return page.locator(".card", has=page.get_by_role("heading", name=name, exact=True))


def expect_answers(page: Page) -> None:
    """Waits until the answers of the two models of the fixture `port` are in their cards."""
    for name, digits in (("cnn", "3"), ("faster_rcnn", "47")):
        expect(card(page, name).locator(".digits")).to_have_text(digits)
        expect(card(page, name).locator(".confidence")).to_have_text("91.0 %")
        expect(card(page, name).locator(".time")).to_have_text(re.compile(r"^[\d.]+ ms$"))
        expect(card(page, name).locator(".seen img")).to_have_count(len(digits))
        expect(card(page, name).locator(".bar.is-best")).to_have_text(digits[0])
