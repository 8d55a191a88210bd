import torch

from mnist_vision.benchmarks.beginner import BeginnerNetwork


def test_the_beginners_network_is_that_of_the_example():
    assert sum(p.numel() for p in BeginnerNetwork(torch.device("cpu")).parameters()) == 1_199_882
