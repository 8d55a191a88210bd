from tests.conftest import results_of


def test_a_run_ends_when_validation_accuracy_has_not_risen_for_some_epochs(run, caplog):
    caplog.set_level("INFO")
    settings = ("callbacks.early_stopping.patience=2", "trainer.max_epochs=9")
    # At this rate, and without batch normalisation's averages, nothing changes.
    same = ("optimizer.lr=1e-12", "model.batch_norm=false")
    run_dir = run("callbacks=early_stopping", *settings, *same)
    assert results_of(run_dir)["epochs"] == 3
    ended = "Monitored metric val/accuracy did not improve in the last 2 records. Best score: "
    assert results_of(run_dir)["ended_by"].startswith(ended)
    assert f"trained for        3 epochs, ended by {ended}" in caplog.text
