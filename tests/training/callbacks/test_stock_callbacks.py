"""Lightning's own callbacks work, or are refused before a run begins."""

import pytest

from mnist_vision.training.checkpoints import load_classifier
from tests.conftest import results_of

L = "lightning.pytorch.callbacks"
WORKING = {
    "DeviceStatsMonitor": ["+callbacks.x.cpu_stats=false"],
    "EarlyStopping": ["+callbacks.x.monitor=val/accuracy"],
    "EMAWeightAveraging": [],
    "GradientAccumulationScheduler": ["+callbacks.x.scheduling={1:2}"],
    "LearningRateMonitor": [],
    "ModelCheckpoint": ["+callbacks.x.monitor=val/f1", "+callbacks.x.mode=max"],
    "ModelSummary": [],
    "RichModelSummary": [],
    "RichProgressBar": ["~callbacks.progress"],
    "Timer": ["+callbacks.x.duration=00:01:00:00"],
    "TQDMProgressBar": ["~callbacks.progress"],
    "WeightAveraging": [],
}
REFUSED = {
    "BackboneFinetuning": "needs a network with an attribute `backbone`",
    "BatchSizeFinder": "changes data.batch_size, by which runs are compared",
    "LearningRateFinder": "changes optimizer.lr, by which runs are compared",
    "ModelPruning": "cannot prune weights in channels-last order",
    "OnExceptionCheckpoint": "would make Lightning choose a checkpoint to resume from",
    "SpikeDetection": "would end a resumed run with an error",
    "StochasticWeightAveraging": "would train for one more epoch",
    "ThroughputMonitor": "missing 1 required positional argument: 'batch_size_fn'",
}
ARGUMENTS = {
    "ModelPruning": ["+callbacks.x.pruning_fn=l1_unstructured"],
    "OnExceptionCheckpoint": ["+callbacks.x.dirpath=failed"],
    "StochasticWeightAveraging": ["+callbacks.x.swa_lrs=0.01"],
}


@pytest.mark.parametrize("name", WORKING)
def test_a_callback_of_lightning_works(run, name):
    run_dir = run("trainer.max_epochs=3", f"+callbacks.x._target_={L}.{name}", *WORKING[name])
    results = results_of(run_dir)
    assert "val/accuracy" in results["history"][-1]
    assert results["epochs"] == 3
    assert load_classifier(run_dir / "checkpoints" / "best.ckpt")
    # Its state is restored.
    last = run_dir / "checkpoints" / "last.ckpt"
    run("trainer.max_epochs=4", f"+callbacks.x._target_={L}.{name}", *WORKING[name],
        f"ckpt_path={last}")  # fmt: skip
    assert results_of(run_dir)["epochs"] == 4


@pytest.mark.parametrize("name", REFUSED)
def test_a_callback_that_cannot_work_is_refused(run_task, tmp_path, name):
    code, output = run_task(f"+callbacks.x._target_={L}.{name}", *ARGUMENTS.get(name, []))
    assert code == 1
    assert output.err.startswith("error: callbacks.x: ")
    assert REFUSED[name] in output.err
    assert output.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
