import pytest

from mnist_vision.common.errors import UserError


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("trainer.val_check_interval=5", "must be at most 4, the batches of an epoch; to count"),
        ("trainer.limit_train_batches=0.2", "is less than one of 4 batches; give their number"),
        ("trainer.limit_val_batches=0.2", "is less than one of 1 batches"),
        ("trainer.overfit_batches=0.2", "is less than one of 4 batches"),
    ],
)
def test_limits_that_leave_nothing_are_refused(run, setting, problem):
    with pytest.raises(UserError, match=f"{setting}: {problem}"):
        run(setting)


def test_an_interval_may_count_across_epochs(run):
    run("trainer.val_check_interval=5", "trainer.check_val_every_n_epoch=null")


def test_the_interval_is_that_of_the_batches_that_are_left(run):
    limited = "trainer.limit_train_batches=2"
    run("trainer.val_check_interval=2", limited)
    with pytest.raises(UserError, match="must be at most 2"):
        run("trainer.val_check_interval=3", limited)
