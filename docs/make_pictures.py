"""Make the picture of the README: the report and TensorBoard side by side.

Needs Debian's `chromium` and a directory of runs with a report in it, as `make lab` leaves it:

    python docs/make_pictures.py outputs/lab
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from PIL import Image

WIDTH, HEIGHT = 1320, 1400  # of each page in the browser, in CSS pixels
WINDOW_EDGE = 100  # at most: the part of the window that is not page
BOARD = {  # what TensorBoard shows, as parameters of its address
    "darkMode": "false",
    "smoothing": 0,
    "tagFilter": "worst_mistakes|train/loss$|val/accuracy",
}
PICTURE_WIDTH = 1600
GAP = 16
OUTPUT = Path(__file__).with_name("report_and_tensorboard.webp")


def main() -> None:
    """Take both screenshots and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="directory of runs that holds report.html")
    options = parser.parse_args()
    runs = options.runs.resolve()
    with tempfile.TemporaryDirectory() as folder:
        report, board = Path(folder) / "report.png", Path(folder) / "board.png"
        screenshot((runs / "report.html").as_uri(), report)
        port = free_port()
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs)]
        server = subprocess.Popen([*command, "--port", str(port)], stderr=subprocess.DEVNULL)
        try:
            num_runs = len({path.parent for path in runs.rglob("events.out.tfevents.*")})
            wait_for_runs(f"http://localhost:{port}/data/runs", num_runs)
            screenshot(f"http://localhost:{port}/?{urlencode(BOARD)}#timeseries", board)
        finally:
            server.terminate()
            server.wait()
        side_by_side(report, board).save(OUTPUT, quality=80, method=6)
    sys.stdout.write(f"{OUTPUT}: {OUTPUT.stat().st_size / 1000:.0f} kB\n")


def free_port() -> int:
    """Return a port that no other process listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def wait_for_runs(url: str, num_runs: int, timeout: float = 60) -> None:
    """Wait until TensorBoard lists all runs at `url`, then a little for it to read them."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        try:
            if len(json.load(urlopen(url))) == num_runs:
                time.sleep(5)
                return
        except (URLError, ConnectionError):
            pass  # TensorBoard is still starting
        time.sleep(1)
    raise TimeoutError(f"{url}: TensorBoard does not list {num_runs} runs after {timeout} s")


def screenshot(url: str, path: Path) -> None:
    """Save the top of a page.

    The virtual time lets TensorBoard load its data. Without WebGL it draws its charts as SVG, which
    headless Chromium captures reliably.
    """
    command = ["chromium", "--headless", "--no-sandbox", "--hide-scrollbars", "--disable-3d-apis"]
    command += [f"--window-size={WIDTH},{HEIGHT + WINDOW_EDGE}", "--virtual-time-budget=120000"]
    subprocess.run([*command, f"--screenshot={path}", url], check=True, capture_output=True)


def side_by_side(left: Path, right: Path) -> Image.Image:
    """Put two screenshots beside each other, scaled to the width of the picture."""
    images = [Image.open(path).convert("RGB") for path in (left, right)]
    picture = Image.new("RGB", (2 * WIDTH + GAP, HEIGHT), "white")
    for image, x in zip(images, (0, WIDTH + GAP), strict=True):
        picture.paste(image.crop((0, 0, WIDTH, HEIGHT)), (x, 0))
    height = round(picture.height * PICTURE_WIDTH / picture.width)
    return picture.resize((PICTURE_WIDTH, height), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
