"""Make the picture of the page for the README: digits drawn on it, and what the networks read.

Needs Debian's `chromium`, and a server as `make serve` starts it:

    python -m docs.make_draw_picture http://127.0.0.1:8000
"""

import argparse
import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.inference.web.drawing import FOUR, SEVEN, THREE, draw

WINDOW = {"width": 1280, "height": 760}
OUTPUT = Path(__file__).with_name("draw.webp")
PLACES = ((0.08, 0.2, 0.2, 0.55), (0.4, 0.2, 0.17, 0.55), (0.68, 0.2, 0.22, 0.55))


def main() -> None:
    """Draw three digits, wait for the answers, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="address of the page")
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport=WINDOW)
        page.goto(options.url)
        for strokes, place in zip((THREE, SEVEN, FOUR), PLACES, strict=True):
            draw(page, strokes, place, steps=30)
        page.wait_for_timeout(2000)
        picture = Image.open(io.BytesIO(page.screenshot()))
        browser.close()
    picture.save(OUTPUT, quality=85, method=6)
    sys.stdout.write(f"{OUTPUT}: {OUTPUT.stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    main()
