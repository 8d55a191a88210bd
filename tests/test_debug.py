"""The options of conf/debug do what their comments promise."""

from tests.conftest import results_of


def test_overfit_memorises_its_two_batches(run):
    results = results_of(run("debug=overfit", "trainer.max_epochs=50"))
    assert results["history"][0]["train/loss"] > 1
    assert results["train"]["loss"] < 0.1
    assert results["train"]["accuracy"] == 1


def test_profile_leaves_its_report_in_the_run_directory(run):
    report = (run("debug=profile") / "fit-profile.txt").read_text()
    assert "run_training_batch" in report


def test_smoke_trains_a_few_steps_and_tests_every_image(run):
    results = results_of(run("debug=smoke", "trainer.max_epochs=1"))
    assert results["epochs"] == 1
    assert results["test"]["num_images"] == 200
