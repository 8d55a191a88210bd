import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from mnist_vision.errors import UserError
from mnist_vision.explain import explain, first_line, similar


def explained(error):
    return explain(error, lambda: ["optimizer.lr", "model"])


def test_errors_for_people_are_given_as_they_are():
    assert explained(UserError("a.ckpt: gone")) == "a.ckpt: gone"


def test_an_os_error_names_the_file():
    with pytest.raises(FileNotFoundError) as error:
        open("/no/such/file")  # noqa: SIM115
    assert explained(error.value) == "/no/such/file: No such file or directory"


def test_the_cause_of_a_failed_instantiation_is_given_with_its_key():
    config = OmegaConf.create({"part": {"_target_": "datetime.date", "year": "x"}})
    with pytest.raises(Exception, match="datetime") as error:
        instantiate(config.part)
    assert explained(error.value).startswith("part: ")
    assert "\n" not in explained(error.value)


def test_an_error_without_words_gives_those_of_its_cause():
    error = RuntimeError()
    error.__cause__ = ValueError("\n\nthe reason\nand more")
    assert first_line(error) == "the reason"
    assert first_line(RuntimeError()) == "RuntimeError"


def test_only_similar_words_are_suggested():
    assert similar("optimzer", ["optimizer", "model"]) == "; did you mean optimizer?"
    assert similar("xyz", ["optimizer", "model"]) == ""
