"""The routes, over HTTP: what they answer, and how they refuse."""

import base64
import http.client
import io
import json
import logging

import numpy as np
import pytest
from PIL import Image

from tests.inference.web.fakes import FakePredictor, picture, serve, wait_until

FORM = "multipart/form-data; boundary=edge"


def form_with(field, content):
    head = f'--edge\r\nContent-Disposition: form-data; name="{field}"; filename="a.png"\r\n\r\n'
    return head.encode() + content + b"\r\n--edge--\r\n"


def refusal(status, content):
    """The sentence of a refusal."""
    assert status >= 400
    assert list(content) == ["error"]
    assert "\n" not in content["error"]
    assert "Traceback" not in content["error"]
    return content["error"]


def test_the_server_is_healthy(ask):
    assert ask("GET", "/health")[:2] == (200, {"status": "ok"})


def test_the_models_are_listed(ask):
    status, content, _ = ask("GET", "/api/models")
    assert status == 200
    assert content["models"] == [
        {
            "name": "cnn",
            "architecture": "cnn",
            "gives_boxes": False,
            "explains": True,
            "file": "cnn.ckpt",
        },
        {
            "name": "faster_rcnn",
            "architecture": "faster_rcnn",
            "gives_boxes": True,
            "explains": True,
            "file": "faster_rcnn.ckpt",
        },
    ]


@pytest.mark.parametrize("content_type", [None, "image/png", "application/octet-stream", "x/y"])
def test_each_model_reads_the_picture_in_a_body(ask, content_type):
    headers = {"Content-Type": content_type} if content_type else {}
    status, content, _ = ask("POST", "/api/predict", picture((200, 120)), headers)
    assert status == 200
    assert (content["width"], content["height"]) == (200, 120)
    cnn, detector = content["models"]
    assert (cnn["name"], cnn["digit"], cnn["confidence"]) == ("cnn", 3, 0.91)
    assert cnn["probabilities"] == [0.91 if digit == 3 else 0.01 for digit in range(10)]
    assert cnn["milliseconds"] >= 0
    assert detector["digit"] == 4
    assert [each["digit"] for each in detector["digits"]] == [4, 7]
    assert detector["digits"][1]["box"] == [80, 30, 130, 90]


def test_the_image_that_a_network_saw_is_a_png(ask):
    _, content, _ = ask("POST", "/api/predict", picture())
    head, _, data = content["models"][0]["digits"][0]["shown"].partition(",")
    assert head == "data:image/png;base64"
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert image.shape == (28, 28)
    assert image[10, 13] == 255
    assert image[0, 0] == 0


def test_a_form_holds_the_picture_in_its_field_file(ask):
    body = form_with("file", picture())
    status, content, _ = ask("POST", "/api/predict", body, {"Content-Type": FORM})
    assert status == 200
    assert content["models"][0]["digit"] == 3


def test_without_a_digit_the_answer_is_null(ask):
    with serve(FakePredictor(digits=())) as port:
        status, content, _ = ask("POST", "/api/predict", picture(), port=port)
    assert status == 200
    (model,) = content["models"]
    assert (model["digit"], model["confidence"], model["probabilities"]) == (None, None, None)
    assert model["digits"] == []


@pytest.mark.parametrize(
    ("query", "several"), [("", True), ("?digits=many", True), ("?digits=one", False)]
)
def test_the_query_says_whether_there_are_several_digits(ask, monkeypatch, query, several):
    asked = []

    def prepare(grey, *, several):
        asked.append(several)

    monkeypatch.setattr("mnist_vision.inference.web.server.prepare", prepare)
    assert ask("POST", f"/api/predict{query}", picture())[0] == 200
    assert asked == [several]


WRONG_BODIES = {
    "nothing": (b"", {}, "the picture is empty; send the bytes of a PNG or JPEG file"),
    "text": (b"seven", {"Content-Type": "text/plain"}, "picture"),
    "JSON": (b'{"picture": 7}', {"Content-Type": "application/json"}, "picture"),
    "half a picture": (picture()[:60], {"Content-Type": "image/png"}, ""),
    "an empty form": (b"--edge--\r\n", {"Content-Type": FORM}, "no file in its field `file`"),
    "another field": (form_with("picture", picture()), {"Content-Type": FORM}, "field `file`"),
    "an empty file": (form_with("file", b""), {"Content-Type": FORM}, "the picture is empty"),
    "no form": (b"seven", {"Content-Type": FORM}, ""),
    "a form without an edge": (b"x", {"Content-Type": "multipart/form-data"}, ""),
}


@pytest.mark.parametrize("kind", WRONG_BODIES)
def test_a_wrong_body_is_refused_with_a_sentence(ask, kind):
    body, headers, sentence = WRONG_BODIES[kind]
    status, content, _ = ask("POST", "/api/predict", body, headers)
    assert status == 400
    assert sentence in refusal(status, content)


def test_a_wrong_query_is_refused(ask):
    status, content, _ = ask("POST", "/api/predict?digits=some", picture())
    assert (status, refusal(status, content)) == (400, "digits: must be one or many")


@pytest.mark.parametrize(
    ("route", "kind", "text"),
    [
        ("/", "text/html", b"<!doctype html>"),
        ("/style.css", "text/css", b":root"),
        ("/cards.css", "text/css", b".card"),
        ("/script.js", "text/javascript", b"import"),
        ("/pad.js", "text/javascript", b"export"),
        ("/answers.js", "text/javascript", b"export"),
    ],
)
def test_the_page_and_its_files_are_sent(ask, route, kind, text):
    status, content, headers = ask("GET", route)
    assert status == 200
    assert headers["content-type"] == f"{kind}; charset=utf-8"
    assert text in content
    assert ask("HEAD", route)[:2] == (200, b"")


@pytest.mark.parametrize(
    "path",
    [
        *("/docs", "/redoc", "/openapi.json", "/favicon.ico", "/index.html", "/page/style.css"),
        *("/../server.py", "/%2e%2e/server.py", "/style.css/", "//style.css", "/api/predict/x"),
        *("/api/models/", "/..%2f..%2fconf/serve.yaml", "/%00", "/static/../../server.py"),
    ],
)
def test_there_is_nothing_at_other_addresses(ask, path):
    status, content, _ = ask("GET", path)
    assert status == 404
    assert refusal(status, content) == "there is nothing at this address; the page is at /"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/api/predict", "POST"),
        ("DELETE", "/api/models", "GET"),
        ("POST", "/health", "GET"),
        ("PUT", "/", "GET, HEAD"),
        ("OPTIONS", "/api/predict", "POST"),
        ("TRACE", "/style.css", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_refused(ask, method, path, allowed):
    status, content, headers = ask(method, path)
    assert status == 405
    assert headers["allow"] == allowed
    assert refusal(status, content) == f"{method} is not possible here; use {allowed}"


def test_an_unexpected_error_is_logged_and_the_server_goes_on(ask, caplog):
    def fail():
        raise ZeroDivisionError("a secret")

    model = FakePredictor(before=fail)
    with serve(model) as port, caplog.at_level(logging.DEBUG, "mnist_vision"):
        status, content, headers = ask("POST", "/api/predict", picture(), port=port)
        assert status == 500
        assert refusal(status, content) == "an unexpected error; the log of the server explains it"
        assert headers["x-content-type-options"] == "nosniff"
        # The answer is sent first.
        wait_until(lambda: "ZeroDivisionError: a secret" in caplog.text)
        model.before = lambda: None
        assert ask("POST", "/api/predict", picture(), port=port)[0] == 200


def test_a_connection_answers_many_requests(port):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.connect()
    socket = connection.sock
    for _ in range(5):
        connection.request("POST", "/api/predict", picture())
        assert json.loads(connection.getresponse().read())["models"]
        connection.request("GET", "/health")
        assert json.loads(connection.getresponse().read()) == {"status": "ok"}
        connection.request("POST", "/api/predict", b"no picture")
        assert connection.getresponse().read()
    assert connection.sock is socket
    connection.close()


def test_a_model_shows_where_it_looks(ask):
    status, content, _ = ask("POST", "/api/explain?model=faster_rcnn", picture())
    assert status == 200
    assert content["name"] == "faster_rcnn"
    assert [each["digit"] for each in content["digits"]] == [4, 7]
    for each in content["digits"]:
        png = base64.b64decode(each["heat"].removeprefix("data:image/png;base64,"))
        with Image.open(io.BytesIO(png)) as image:
            assert (image.size, image.mode) == ((28, 28), "RGB")


def test_what_cannot_be_explained_is_refused(ask):
    status, content, _ = ask("POST", "/api/explain", picture())
    assert refusal(status, content) == "model: must be one of cnn, faster_rcnn"
    status, content, _ = ask("POST", "/api/explain?model=cnn&digits=all", picture())
    assert refusal(status, content) == "digits: must be one or many"
    status, content, _ = ask("POST", "/api/explain?model=cnn", b"no picture")
    assert status == 400
    with serve(FakePredictor(obstacle="needs a checkpoint")) as port:
        status, content, _ = ask("POST", "/api/explain?model=cnn", picture(), port=port)
        assert refusal(status, content) == "model=cnn: needs a checkpoint"
