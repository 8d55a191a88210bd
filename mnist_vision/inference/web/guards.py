"""Guard the server: who may ask, how large and how slow a body may be, what every answer says."""

import asyncio
import logging
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

MAX_BODY = 16 * 2**20  # bytes
BODY_SECONDS = 10.0

# Only files of this server run or are shown; pictures may also come from the page's own data.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class RefusalError(Exception):
    """A request that is not answered.

    Args:
        status: Status of the HTTP response.
        sentence: Why, and what to do.
        headers: More headers of the response.
    """

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None):
        super().__init__(sentence)
        self.status = status
        self.headers = headers

    def response(self) -> JSONResponse:
        """Tell the client as JSON: `{"error": "a sentence"}`."""
        return JSONResponse({"error": str(self)}, self.status, self.headers)


def unexpected_error() -> RefusalError:
    """Say that the server failed, and nothing about how."""
    return RefusalError(500, "an unexpected error; the log of the server explains it")


class _ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


class Guards:
    """An application around another one, which it calls with complete and allowed requests only.

    - A foreign Host or Origin gets 403: no other page that is open in the browser can use the
      server, not even one whose name has been made to point to this computer.
    - A body over `MAX_BODY` gets 413, one that takes longer than `BODY_SECONDS` gets 408.
    - If the client goes away, the application is cancelled.
    - Every response has headers that keep foreign content out of the page.
    - An unexpected error is logged and gets 500.

    Args:
        app: The application.
        port: The port that the server listens on.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in ("localhost", "127.0.0.1", "[::1]")}
        if port == 80:  # a browser leaves it out
            self._hosts |= {host.removesuffix(":80") for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        is_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        try:
            headers = Headers(scope=scope)
            self._check_source(headers)
            body = await _read_body(headers, receive)
            await _call_until_gone(self._app, body, scope, receive, send_with_headers)
        except RefusalError as refusal:
            await refusal.response()(scope, receive, send_with_headers)
        except _ClientGoneError:
            pass
        except Exception:
            log.error("an unexpected error, which the log explains; the server goes on")
            log.debug("The error", exc_info=True)
            if not is_started:
                await unexpected_error().response()(scope, receive, send_with_headers)

    def _check_source(self, headers: Headers) -> None:
        """Refuse a request that was not sent to this server, or not by its own page.

        Programs such as curl send no Origin.
        """
        if headers.get("host", "").lower() not in self._hosts:
            raise RefusalError(403, f"Host must be one of {', '.join(sorted(self._hosts))}")
        for origin in headers.getlist("origin"):
            scheme, host = _split_origin(origin.lower())
            if scheme != "http" or host not in self._hosts:
                raise RefusalError(403, "only the page of this server may ask it")


def _split_origin(origin: str) -> tuple[str, str]:
    try:
        parts = urlsplit(origin)
    except ValueError:  # such as http://[
        return "", ""
    return parts.scheme, parts.netloc


async def _read_body(headers: Headers, receive: Receive) -> bytes:
    """Read the body of a request.

    What is too large is read on for a while and dropped: many clients read the answer only after
    they have sent all, and would find a broken connection instead.
    """
    close = {"Connection": "close"}
    too_large = RefusalError(413, f"the body is larger than {MAX_BODY >> 20} MB", close)
    size = int(headers.get("content-length", 0))
    if size > MAX_BODY and headers.get("expect", "").lower() == "100-continue":
        raise too_large
    body, size, is_complete = bytearray(), 0, False
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while not is_complete and size <= 4 * MAX_BODY:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _ClientGoneError
                chunk = message.get("body", b"")
                size += len(chunk)
                if size <= MAX_BODY:
                    body += chunk
                is_complete = not message.get("more_body", False)
    except TimeoutError:
        sentence = f"the body was not complete after {BODY_SECONDS:g} seconds; send it again"
        raise (too_large if size > MAX_BODY else RefusalError(408, sentence, close)) from None
    if size > MAX_BODY:
        raise too_large
    return bytes(body)


async def _call_until_gone(
    app: ASGIApp, body: bytes, scope: Scope, receive: Receive, send: Send
) -> None:
    """Call an application with a body that has been read; cancel it if the client goes away."""
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    gone = asyncio.ensure_future(receive())  # nothing else can come now

    async def receive_again() -> Message:
        return parts.pop() if parts else await asyncio.shield(gone)

    async def call() -> None:
        await app(scope, receive_again, send)

    answer = asyncio.ensure_future(call())
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            answer.result()  # raises its error
    finally:
        answer.cancel()
        gone.cancel()
        await asyncio.gather(answer, gone, return_exceptions=True)
