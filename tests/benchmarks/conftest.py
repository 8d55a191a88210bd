"""The configuration that the benchmarks are tested with."""

import pytest

from tests.conftest import composed


@pytest.fixture
def config(tmp_path):
    config = composed("repeats=1", config_name="benchmark")
    config.output_dir = str(tmp_path)
    return config
