import pytest

from mnist_vision.common.errors import UserError
from mnist_vision.models import find_architecture
from mnist_vision.models.cnn import CNN


def test_an_architecture_is_found_by_the_name_of_its_module():
    assert find_architecture("cnn") is CNN


@pytest.mark.parametrize("name", ["resnet", "classifier", "cnn.cnn", "../cnn", "", "os"])
def test_other_names_are_refused_and_the_known_ones_listed(name):
    with pytest.raises(UserError, match=r"unknown architecture .*: this program has .*cnn"):
        find_architecture(name)
