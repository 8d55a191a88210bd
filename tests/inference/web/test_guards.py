"""What the guards refuse, over real sockets."""

import contextlib
import json
import socket
import threading

import pytest

from mnist_vision.inference.web import guards
from tests.inference.web.fakes import FakePredictor, picture, serve, wait_until


@contextlib.contextmanager
def connected(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        yield connection


def request_head(port, *lines):
    return "\r\n".join(
        ["POST /api/predict HTTP/1.1", f"Host: localhost:{port}", *lines, "", ""]
    ).encode()


def answer_on(connection):
    """The status and the content of the answer on a connection, which the server closes."""
    received = b""
    while part := connection.recv(2**16):
        received += part
    head, _, content = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content)


@pytest.mark.parametrize(
    "host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "LocalHost:{port}"]
)
def test_a_host_of_this_computer_is_answered(ask, port, host):
    assert ask("GET", "/health", headers={"Host": host.format(port=port)})[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "evil.example:{port}",
        "localhost.evil.example:{port}",
        "127.0.0.1:1",
        "",
        "x@localhost:{port}",
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/models", "/health", "/nothing"])
def test_a_foreign_host_is_refused(ask, port, host, path):
    status, content, _ = ask("GET", path, headers={"Host": host.format(port=port)})
    assert status == 403
    assert content["error"].startswith("Host must be one of 127.0.0.1:")


@pytest.mark.parametrize("origin", ["http://localhost:{port}", "http://127.0.0.1:{port}"])
def test_the_page_of_the_server_is_answered(ask, port, origin):
    headers = {"Origin": origin.format(port=port)}
    assert ask("POST", "/api/predict", picture(), headers)[0] == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "",
        "https://localhost:{port}",
        "http://localhost:1",
        "http://[",
    ],
)
def test_another_page_is_refused(ask, port, origin):
    headers = {"Origin": origin.format(port=port)}
    status, content, answered = ask("POST", "/api/predict", picture(), headers)
    assert status == 403
    assert content == {"error": "only the page of this server may ask it"}
    assert "access-control-allow-origin" not in answered


@pytest.mark.parametrize("path", ["/", "/script.js", "/api/models", "/nothing"])
def test_every_answer_keeps_foreign_content_out(ask, path):
    headers = ask("GET", path)[2]
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_over_16_megabytes_is_refused(ask, is_chunked):
    parts = (bytes(2**20) for _ in range(17))
    body = parts if is_chunked else b"".join(parts)
    status, content, _ = ask("POST", "/api/predict", body)
    assert (status, content) == (413, {"error": "the body is larger than 16 MB"})


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_of_16_megabytes_is_read(ask, is_chunked):
    parts = (bytes(2**20) for _ in range(16))
    status, content, _ = ask("POST", "/api/predict", parts if is_chunked else b"".join(parts))
    assert status == 400
    assert "larger" not in content["error"]


def test_a_client_that_asks_first_need_not_send_a_large_body(port):
    with connected(port) as connection:
        connection.sendall(request_head(port, f"Content-Length: {2**40}", "Expect: 100-continue"))
        assert answer_on(connection)[0] == 413


def test_a_body_without_end_is_cut_off(port, monkeypatch):
    monkeypatch.setattr(guards, "MAX_BODY", 2**16)
    with connected(port) as connection:
        connection.sendall(request_head(port, f"Content-Length: {2**40}"))
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                connection.sendall(bytes(2**16))
            pytest.fail("the server took it all")


@pytest.mark.parametrize("length", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_a_slow_body_is_refused(port, monkeypatch, length):
    monkeypatch.setattr(guards, "BODY_SECONDS", 0.3)
    with connected(port) as connection:
        connection.sendall(request_head(port, length))
        connection.sendall(b"5\r\nhello\r\n")
        status, content = answer_on(connection)
    assert status == 408
    assert content == {"error": "the body was not complete after 0.3 seconds; send it again"}


def test_others_are_answered_while_a_body_is_slow(ask, port):
    with connected(port) as connection:
        connection.sendall(request_head(port, "Content-Length: 100"))
        assert ask("POST", "/api/predict", picture())[0] == 200


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_request_ends_its_connection_only(ask, port, sent):
    with connected(port) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        assert b" 200 " not in connection.recv(2**16)
    assert ask("GET", "/health")[0] == 200


@pytest.fixture
def held():
    """A model that answers when it may."""
    may_answer = threading.Event()
    yield may_answer
    may_answer.set()


def test_a_full_queue_refuses_and_a_client_that_goes_away_frees_its_place(ask, held):
    started = threading.Event()

    def wait():
        started.set()
        held.wait(30)

    with serve(FakePredictor(before=wait)) as port, contextlib.ExitStack() as open_connections:
        body = picture()
        request = request_head(port, f"Content-Length: {len(body)}", "Connection: close") + body

        def send():
            connection = open_connections.enter_context(connected(port))
            connection.sendall(request)
            return connection

        def is_full():
            """Asks, and waits for a moment whether a refusal comes."""
            connection = open_connections.enter_context(connected(port))
            connection.sendall(request)
            connection.settimeout(0.5)
            try:
                return b" 503 " in connection.recv(2**16)
            except TimeoutError:
                waiting.append(connection)
                return False

        waiting = [send()]
        assert started.wait(30)
        waiting += [send() for _ in range(15)]
        assert not is_full()
        status, content, headers = ask("POST", "/api/predict", body, port=port)
        assert status == 503
        assert content == {"error": "too many pictures are waiting; send it again in a second"}
        assert headers["retry-after"] == "1"
        assert ask("GET", "/health", port=port)[0] == 200

        waiting.pop(5).close()
        wait_until(lambda: not is_full())
        assert is_full()
        held.set()
        for connection in waiting:
            connection.settimeout(30)
            assert answer_on(connection)[0] == 200
        assert ask("POST", "/api/predict", body, port=port)[0] == 200
