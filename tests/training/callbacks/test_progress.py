import io
import re
import sys

import pytest

from mnist_vision.training.callbacks import progress
from mnist_vision.training.callbacks.progress import EpochProgress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_there_is_a_bar_where_there_is_a_terminal_and_a_line_an_epoch_anywhere(
    run, monkeypatch, caplog, stream
):
    caplog.set_level("INFO")
    monkeypatch.setattr(sys, "stderr", stream())
    run()
    assert ("training:   0%" in sys.stderr.getvalue()) is (stream is Terminal)
    lines = [line for line in caplog.messages if line.startswith("epoch ")]
    metrics = ["train loss", "train accuracy", "val accuracy", "val f1"]
    for epoch, line in enumerate(lines, start=1):
        figures = "  ".join(rf"{name} \d\.\d{{4}}" for name in metrics)
        assert re.fullmatch(rf"epoch {epoch}/2  {figures}", line)
    assert len(lines) == 2


def test_a_process_that_is_not_the_first_shows_nothing(run, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(sys, "stderr", Terminal())
    # Lightning calls it there.
    monkeypatch.setattr(EpochProgress, "setup", lambda self, *args, **kwargs: self.disable())
    run()
    assert "training:" not in sys.stderr.getvalue()
    assert not [line for line in caplog.messages if line.startswith("epoch ")]


def test_the_bar_counts_steps_of_the_optimizer(run, monkeypatch):
    bars = []

    class Bar(progress.tqdm):
        def close(self):
            bars.append((self.n, self.total))
            super().close()

    monkeypatch.setattr(progress, "tqdm", Bar)
    monkeypatch.setattr(sys, "stderr", Terminal())
    run("trainer.accumulate_grad_batches=2", "trainer.max_epochs=2")
    assert bars[0] == (4, 4)
