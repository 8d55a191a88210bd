"""The weights that training ends with are validated, and the best of all are tested."""

import pytest
import torch

from mnist_vision.training.checkpoints import load_classifier
from tests.conftest import results_of

ENDINGS = {
    "epoch average": ["+callbacks.average._target_=lightning.pytorch.callbacks.EMAWeightAveraging",
                      "+callbacks.average.update_starting_at_epoch=0"],
    "stopped by its loss": ["+callbacks.stop._target_=lightning.pytorch.callbacks.EarlyStopping",
                            "+callbacks.stop.monitor=train/loss", "+callbacks.stop.mode=max",
                            "trainer.check_val_every_n_epoch=3", "+callbacks.stop.patience=1",
                            "+callbacks.stop.check_on_train_epoch_end=true"],
    "steps": ["trainer.max_steps=7"],
    "mid-epoch": ["trainer.val_check_interval=3"],
}  # fmt: skip


@pytest.mark.parametrize("settings", ENDINGS)
def test_the_last_weights_are_validated_and_the_best_are_kept(run, digits, settings):
    run_dir = run("trainer.max_epochs=4", "data.batch_size=60", "data.augmentation=null",
                  *ENDINGS[settings])  # fmt: skip
    results = results_of(run_dir)
    rows = results["history"]
    assert {"train/accuracy", "val/accuracy"} <= rows[-1].keys()
    measured = [row for row in rows if "val/accuracy" in row]
    best = max(measured, key=lambda row: row["val/accuracy"])
    assert results["best"] == {
        "epoch": best["epoch"], "step": best["step"], "val_accuracy": best["val/accuracy"],
    }  # fmt: skip
    # The file holds the weights that were measured.
    kept = load_classifier(run_dir / "checkpoints" / "best.ckpt")
    assert accuracy_on_validation(kept) == pytest.approx(best["val/accuracy"])


def accuracy_on_validation(model):
    from mnist_vision.common.instantiation import make
    from tests.conftest import composed

    config = composed("data.val_size=100", "data.augmentation=null")
    datamodule = make(config, "data")
    datamodule.setup("fit")
    images, targets = datamodule.prepare_batch(next(iter(datamodule.val_dataloader()[0])))
    with torch.no_grad():
        return float((model(images).argmax(dim=1) == targets).float().mean())
