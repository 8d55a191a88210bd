"""The routes of the server: the page, its files, the models, and predictions."""

import base64
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from numpy.typing import NDArray
from PIL import Image
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from mnist_vision.common.errors import UserError
from mnist_vision.inference.picture_reading import read_picture
from mnist_vision.inference.predictor import Prediction, Predictor
from mnist_vision.inference.preparation import prepare
from mnist_vision.inference.web.guards import Guards, RefusalError, unexpected_error
from mnist_vision.inference.web.work_queue import QueueFullError, WorkQueue

MAX_WAITING = 16

# The page, by route: its file in the package and its type.
_PAGE = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/cards.css": ("cards.css", "text/css"),
    "/script.js": ("script.js", "text/javascript"),
    "/pad.js": ("pad.js", "text/javascript"),
    "/answers.js": ("answers.js", "text/javascript"),
}


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model that answers.

    Args:
        name: Its name on the page, which no other model has.
        file: The file that it was loaded from, as shown to people.
        predictor: What answers; its name is the architecture.
    """

    name: str
    file: str
    predictor: Predictor


def make_app(models: Sequence[ServedModel], port: int) -> ASGIApp:
    """Make the guarded application.

    Args:
        models: The models, in the order of the page.
        port: The port that the server listens on.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    _explain_errors(app)
    _add_page(app)
    _add_api(app, models, WorkQueue(MAX_WAITING))
    return Guards(app, port)


def _add_page(app: FastAPI) -> None:
    folder = files("mnist_vision.inference.web") / "page"

    def add(route: str, content: bytes, media_type: str) -> None:
        async def send() -> Response:
            return Response(content, media_type=media_type)

        app.add_api_route(route, send, methods=["GET", "HEAD"])

    for route, (name, media_type) in _PAGE.items():
        add(route, (folder / name).read_bytes(), media_type)


def _add_api(app: FastAPI, models: Sequence[ServedModel], queue: WorkQueue) -> None:
    # Once, before the server starts: it runs each network, which two threads must not do at once.
    descriptions = [_describe(model) for model in models]

    @app.get("/health")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/api/models")
    async def list_models() -> JSONResponse:
        return JSONResponse({"models": descriptions})

    @app.post("/api/predict")
    async def predict(request: Request, digits: Literal["one", "many"] = "many") -> JSONResponse:
        picture = await _picture_in(request)
        several = digits == "many"
        return await _answer(queue, lambda: predict_all(models, picture, several=several))

    @app.post("/api/explain")
    async def explain(
        request: Request, model: str = "", digits: Literal["one", "many"] = "many"
    ) -> JSONResponse:
        found = next((each for each in models if each.name == model), None)
        if found is None:
            names = ", ".join(each.name for each in models)
            raise RefusalError(400, f"model: must be one of {names}")
        if found.predictor.obstacle is not None:
            raise RefusalError(400, f"model={model}: {found.predictor.obstacle}")
        picture = await _picture_in(request)
        several = digits == "many"
        return await _answer(queue, lambda: explain_one(found, picture, several=several))


async def _answer(queue: WorkQueue, work: Callable[[], dict[str, Any]]) -> JSONResponse:
    """Do work in its turn, and answer with its result."""
    try:
        return JSONResponse(await queue.run(work))
    except QueueFullError:
        sentence = "too many pictures are waiting; send it again in a second"
        raise RefusalError(503, sentence, {"Retry-After": "1"}) from None
    except UserError as error:
        raise RefusalError(400, str(error)) from error


async def _picture_in(request: Request) -> bytes:
    """Get the picture of a request: its body or, of a form, its field `file`."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        body = await request.body()
    else:
        async with request.form(max_files=1, max_fields=10) as form:
            field = form.get("file")
            if not isinstance(field, UploadFile):
                raise RefusalError(400, "the form has no file in its field `file`")
            body = await field.read()
    if not body:
        raise RefusalError(400, "the picture is empty; send the bytes of a PNG or JPEG file")
    return body


def predict_all(models: Sequence[ServedModel], picture: bytes, *, several: bool) -> dict[str, Any]:
    """Read the digits in a picture with each model.

    Args:
        models: The models.
        picture: The bytes of a picture file.
        several: Whether there may be several digits.

    Returns:
        The response of `/api/predict`. Boxes are in pixels of the picture.

    Raises:
        UserError: If the picture cannot be read.
    """
    pixels = read_picture(picture)
    prepared = prepare(pixels, several=several)
    answers = []
    for model in models:
        start = time.perf_counter()
        (predictions,) = model.predictor.answer([prepared])
        milliseconds = round(1000 * (time.perf_counter() - start), 2)
        found = [_to_json(each) for each in predictions]
        nothing = {"digit": None, "confidence": None, "probabilities": None}
        first = {key: found[0][key] for key in nothing} if found else nothing
        answers.append({"name": model.name, **first, "milliseconds": milliseconds, "digits": found})
    height, width = (pixels.reduction * side for side in pixels.pixels.shape)
    return {"width": width, "height": height, "models": answers}


def explain_one(model: ServedModel, picture: bytes, *, several: bool) -> dict[str, Any]:
    """Show where a model looks in the digits of a picture.

    Args:
        model: The model; its predictor has no `obstacle`.
        picture: The bytes of a picture file.
        several: Whether there may be several digits.

    Returns:
        The response of `/api/explain`: for each digit that it reads, Grad-CAM over what it was
        shown.

    Raises:
        UserError: If the picture cannot be read.
    """
    (found,) = model.predictor.answer([prepare(read_picture(picture), several=several)])
    heat = model.predictor.draw_heat(found)
    digits = [
        {"digit": int(each.digit), "heat": _data_url(drawn)}
        for each, drawn in zip(found, heat, strict=True)
    ]
    return {"name": model.name, "digits": digits}


def _to_json(prediction: Prediction) -> dict[str, Any]:
    return {
        "digit": int(prediction.digit),
        "confidence": round(float(prediction.confidence), 6),
        "probabilities": [round(float(each), 6) for each in prediction.probabilities],
        "box": [round(float(each), 2) for each in prediction.box],
        "shown": _data_url(prediction.shown),
    }


def _data_url(image: NDArray[np.uint8]) -> str:
    """Encode an image as a data URL of a PNG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _describe(model: ServedModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "architecture": model.predictor.name,
        "gives_boxes": model.predictor.gives_boxes,
        "explains": model.predictor.obstacle is None,
        "file": model.file,
    }


def _explain_errors(app: FastAPI) -> None:
    """Answer each error with one sentence."""

    @app.exception_handler(RefusalError)
    async def refuse(request: Request, error: RefusalError) -> JSONResponse:
        return error.response()

    @app.exception_handler(HTTPException)
    async def explain(request: Request, error: HTTPException) -> JSONResponse:
        sentence, headers = str(error.detail), dict(error.headers or {})
        if error.status_code == 404:
            sentence = "there is nothing at this address; the page is at /"
        elif error.status_code == 405:
            headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
            sentence = f"{request.method} is not possible here; use {headers['Allow']}"
        return RefusalError(error.status_code, sentence, headers).response()

    @app.exception_handler(RequestValidationError)
    async def explain_query(request: Request, error: RequestValidationError) -> JSONResponse:
        return RefusalError(400, "digits: must be one or many").response()

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> JSONResponse:
        # The error goes on to the guards, which log it.
        return unexpected_error().response()
