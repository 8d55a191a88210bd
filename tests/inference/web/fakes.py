"""Models without a network, and a server in this process that answers over real sockets."""

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mnist_vision.inference.predictor import Prediction
from mnist_vision.inference.web.server import ServedModel
from mnist_vision.inference.web.serving import make_server


class FakePredictor:
    """Reads the same digits in every picture.

    Args:
        name: Its architecture.
        digits: What it reads.
        gives_boxes: Whether it is a detector.
        before: Called before each answer.
        obstacle: Why it cannot be explained.
    """

    def __init__(
        self,
        name: str = "cnn",
        digits: Sequence[int] = (3,),
        gives_boxes: bool = False,
        before: Callable[[], Any] = lambda: None,
        obstacle: str | None = None,
    ) -> None:
        self.name = name
        self.gives_boxes = gives_boxes
        self.before = before
        self.obstacle = obstacle
        self._digits = digits

    def answer(self, pictures: Sequence[Any]) -> list[list[Prediction]]:
        self.before()
        return [[self._predict(*each) for each in enumerate(self._digits)] for _ in pictures]

    def draw_heat(self, predictions: Sequence[Prediction]) -> list[Any]:
        return [np.full((28, 28, 3), (213, 94, 0), np.uint8) for _ in predictions]

    def _predict(self, place: int, digit: int) -> Prediction:
        probabilities = np.full(10, 0.01, np.float32)
        probabilities[digit] = 0.91
        shown = np.zeros((28, 28), np.uint8)
        shown[4:24, 12:16] = 255
        return Prediction(
            digit, 0.91, probabilities, (20 + 60 * place, 30, 70 + 60 * place, 90), shown
        )


@contextmanager
def serve(*predictors: Any) -> Iterator[int]:
    """Serves models from a thread of this process; gives the port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    models = [ServedModel(each.name, f"{each.name}.ckpt", each) for each in predictors]
    server = make_server(listener, models)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def picture(size: tuple[int, int] = (200, 120), num_digits: int = 1) -> bytes:
    """A PNG with black bars on white."""
    image = Image.new("L", size, 255)
    for place in range(num_digits):
        ImageDraw.Draw(image).line((40 + 60 * place, 20, 40 + 60 * place, 100), fill=0, width=12)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def wait_until(holds: Callable[[], Any], seconds: float = 20) -> None:
    """Waits until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
