"""Compare finished runs: `python -m mnist_vision.compare outputs/...`."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mnist_vision.common.errors import UserError, fail


def main() -> None:
    """Run the command; report an error as one line on standard error and exit code 1."""
    options = _parser().parse_args()
    output = Path(options.output).expanduser()
    try:
        _compare([os.path.expanduser(name) for name in options.runs], output)
    except UserError as error:
        fail(str(error), 1)
    except OSError as error:
        from mnist_vision.common.files import explain_os_error

        fail(explain_os_error(error, output, "--output"), 1)
    except KeyboardInterrupt:
        fail("stopped by SIGINT", 130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mnist_vision.compare",
        description="Compare finished runs by their results and test predictions. Writes a page "
        "with tables and plots.",
    )
    parser.add_argument(
        "runs",
        nargs="*",
        default=["outputs"],
        metavar="DIR",
        help="folder of a run, folder with runs anywhere below, or glob (default: outputs)",
    )
    parser.add_argument(
        "--output",
        default="outputs/comparison",
        metavar="DIR",
        help="where to write report.html, report.md, results.csv and the plots "
        "(default: %(default)s)",
    )
    return parser


def _compare(arguments: Sequence[str], output: Path) -> None:
    # These take seconds to import, so the command line is checked first.
    from mnist_vision.common.files import lock_directory, shown, write_atomically
    from mnist_vision.common.quiet import quiet_libraries
    from mnist_vision.report.page import make_report
    from mnist_vision.report.selection import select

    quiet_libraries()
    selection = select(arguments)
    output.mkdir(parents=True, exist_ok=True)
    with lock_directory(output, "--output"):
        report = make_report(selection)
        for name, content in report.files.items():
            with write_atomically(output / name) as file:
                file.write(content)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Replace characters that the terminal cannot show, such as ±.
        sys.stdout.reconfigure(errors="replace")
    report.summary.append(f"report  {shown(output / 'report.html')}")
    sys.stdout.write("\n".join([*report.summary, ""]))


if __name__ == "__main__":
    main()
