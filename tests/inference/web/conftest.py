"""A server with two models, how tests ask it, and its page in a real browser."""

import http.client
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.inference.web.fakes import FakePredictor, serve

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Port of a server with a CNN that reads 3, and a detector that reads 4 and 7."""
    with serve(FakePredictor(), FakePredictor("faster_rcnn", (4, 7), gives_boxes=True)) as number:
        yield number


@pytest.fixture
def ask(port: int) -> Callable[..., tuple[int, Any, Mapping[str, str]]]:
    """Sends a request to the server; gives status, content (read, if it is JSON) and headers."""

    def send(method, path, body=None, headers=None, port=port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.headers["content-type"] == "application/json" and content:
            content = json.loads(content)
        return response.status, content, response.headers

    return send


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        assert "CI" not in os.environ, "CI needs a browser"
        pytest.skip("needs Chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@dataclass
class Opened:
    """A page, and what it did."""

    page: Page
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@pytest.fixture
def open_page(browser, port):
    """Opens the page; afterwards checks that it made no error and asked only its own server."""
    opened = []

    with ExitStack() as stack:

        def go(port: int = port, **options) -> Opened:
            context = stack.enter_context(browser.new_context(**options))
            here = Opened(context.new_page())
            here.page.on("request", lambda request: here.requests.append(request.url))
            here.page.on("pageerror", lambda error: here.errors.append(str(error)))
            here.page.on(
                "console",
                lambda said: here.errors.append(said.text) if said.type != "log" else None,
            )
            here.page.goto(f"http://127.0.0.1:{port}/")
            here.page.wait_for_selector(".card")
            opened.append((here, port))
            return here

        yield go
        for here, port_ in opened:
            assert here.errors == []
            schemes = (f"http://127.0.0.1:{port_}/", "data:", "blob:")
            assert all(url.startswith(schemes) for url in here.requests)


@pytest.fixture
def page(open_page: Callable[..., Opened]) -> Page:
    """The page, in a wide window."""
    return open_page(viewport={"width": 1400, "height": 900}).page
