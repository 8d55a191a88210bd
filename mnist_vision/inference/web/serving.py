"""Serve the page until a signal: check the settings, load the models, listen."""

import errno
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from importlib.util import find_spec
from itertools import chain, count
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from mnist_vision.common.errors import UserError
from mnist_vision.common.files import shown
from mnist_vision.common.quiet import quiet_libraries
from mnist_vision.inference.network_choice import choose_networks

if TYPE_CHECKING:  # these import torch, or are not installed
    import uvicorn

    from mnist_vision.inference.web.server import ServedModel

log = logging.getLogger(__name__)

# Packages of the extra `serve`, as they are imported and as they are called.
_PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
_MOST_CONNECTIONS = 128


def prepare(config: DictConfig) -> Callable[[], None]:
    """Check the settings, take the port and load the models; write nothing.

    Args:
        config: The composed `conf/serve.yaml`.

    Returns:
        What serves the page until SIGINT or SIGTERM.

    Raises:
        UserError: If a package or a run is missing, or the port or a file cannot be used.
    """
    for module, package in _PACKAGES.items():
        if find_spec(module) is None:
            raise UserError(f"{package}: is not installed; pip install 'mnist_vision[serve]'")
    quiet_libraries()
    paths = choose_networks(config)
    with ExitStack() as held:
        listener = held.enter_context(closing(_listen(config.port)))
        models = load_models(paths)
        held.pop_all()
    return partial(_serve, listener, models)


def load_models(paths: Sequence[str]) -> "list[ServedModel]":
    """Load models, and give each a name of its own: cnn, cnn 2, ...

    Args:
        paths: Their files.
    """
    # torch takes seconds to import: the settings are checked before.
    from mnist_vision.inference.predictor import load_predictor
    from mnist_vision.inference.web.server import ServedModel

    models: dict[str, ServedModel] = {}
    for path in paths:
        predictor = load_predictor(path)
        others = (f"{predictor.name} {number}" for number in count(2))
        name = next(each for each in chain([predictor.name], others) if each not in models)
        models[name] = ServedModel(name, str(shown(path)), predictor)
    return list(models.values())


def _listen(port: int) -> socket.socket:
    """Listen on a port of this computer, which other computers cannot reach.

    Raises:
        UserError: If the port is taken, or not for this user.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Otherwise the system reserves the port for a minute after a server has ended.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        problem = "is in use" if error.errno == errno.EADDRINUSE else f"{error.strerror}"
        raise UserError(f"port={port}: {problem}; choose another with port=N") from error
    return listener


def make_server(listener: socket.socket, models: "Sequence[ServedModel]") -> "uvicorn.Server":
    """Make the server; its `run(sockets=[listener])` serves until `should_exit`."""
    import uvicorn

    from mnist_vision.inference.web.server import make_app

    config = uvicorn.Config(
        make_app(models, listener.getsockname()[1]),
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",  # the guards log errors
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,  # each may hold a picture in memory
        timeout_graceful_shutdown=0,  # requests that are not answered yet end with the server
    )
    return uvicorn.Server(config)


def _serve(listener: socket.socket, models: "Sequence[ServedModel]") -> None:
    """Serve until SIGINT or SIGTERM, which uvicorn raises again when it has stopped serving."""
    server = make_server(listener, models)
    width = max(len(model.name) for model in models)
    for model in models:
        log.info("%s  %s", model.name.ljust(width), model.file)
    log.info("draw at http://127.0.0.1:%d (Ctrl-C ends the server)", listener.getsockname()[1])
    server.run(sockets=[listener])
