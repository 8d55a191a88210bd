from mnist_vision.benchmarks.harness import medians


def test_measures_alternate_and_the_median_of_each_is_kept():
    order = []

    def measure(name, values):
        def once():
            order.append(name)
            return values.pop()

        return once

    assert medians([measure("a", [9, 1, 2]), measure("b", [5, 5, 6])], 3) == [2, 5]
    assert order == ["a", "b"] * 3
