"""Draw digits in the browser, and see each model read them: `python -m mnist_vision.serve`."""

from collections.abc import Callable

from omegaconf import DictConfig

from mnist_vision.cli.command import run_command


def main() -> None:
    """Run the command."""
    run_command(task, "serve")


def task(config: DictConfig) -> Callable[[], None]:
    """Prepare the server, which answers until it is stopped."""
    # Importing the server takes time: check the command line first.
    from mnist_vision.inference.web.serving import prepare

    return prepare(config)


if __name__ == "__main__":
    main()
