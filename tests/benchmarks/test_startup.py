from mnist_vision.benchmarks.startup import measure_startup


def test_the_start_is_timed(config):
    rows = measure_startup(config)
    assert [row.what for row in rows] == [
        "answer to --help",
        "answer to --cfg=job",
        "answer to optimzer.lr=1",
    ]
    assert all(row.ours > 0 for row in rows)
