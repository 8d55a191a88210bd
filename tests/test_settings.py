from mnist_vision.settings import fingerprint, settings_of
from tests.conftest import composed


def test_settings_are_resolved_and_say_nothing_of_paths_and_logging():
    settings = settings_of(composed("seed=3", "model.hidden=64"))
    assert settings.keys() == {
        "seed", "data", "optimizer", "scheduler", "trainer", "callbacks", "model",
    }  # fmt: skip
    assert settings["seed"] == 3
    assert settings["model"]["hidden"] == 64
    assert "root" not in settings["data"]


def test_the_same_settings_have_the_same_fingerprint_however_they_were_asked_for():
    elsewhere = (
        "logger=csv", "data.root=/somewhere", "ckpt_path=x", "sweep.resume=true", "output_dir=/a",
    )  # fmt: skip
    assert fingerprint(composed()) == fingerprint(composed("model=cnn", "seed=0", *elsewhere))


def test_other_settings_have_another_fingerprint():
    choices = ["seed=0", "seed=1", "optimizer.lr=0.1", "callbacks=ema", "model=vgg16"]
    assert len({fingerprint(composed(choice)) for choice in choices}) == len(choices)
