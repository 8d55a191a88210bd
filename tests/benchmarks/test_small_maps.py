from mnist_vision.benchmarks.small_maps import measure_small_maps


def test_convolutions_on_small_maps_are_compared_with_torchs(config):
    rows = measure_small_maps(config)
    assert [row.what for row in rows] == ["conv, 4x4", "conv, 2x2"]
    assert all(row.ours > 0 and row.ratio == row.theirs / row.ours for row in rows)
