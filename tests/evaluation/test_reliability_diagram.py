import io

import pytest
import torch

from mnist_vision.evaluation.reliability_diagram import draw_reliability_diagram


def test_points_are_accuracies_at_mean_confidences():
    """Four digits of confidence 0.55, half of them right, and two of 0.91 that are right."""
    probabilities = torch.full((6, 10), 0.05).index_fill_(1, torch.tensor(0), 0.55)
    probabilities[4:] = torch.full((10,), 0.01).index_fill_(0, torch.tensor(0), 0.91)
    targets = torch.tensor([0, 0, 1, 2, 0, 0])
    figure = draw_reliability_diagram(probabilities, probabilities, targets, "cnn")
    upper, lower = figure.axes
    _, before, after, *_ = upper.get_lines()
    for line in (before, after):
        assert list(line.get_xdata()) == pytest.approx([0.55, 0.91])
        assert list(line.get_ydata()) == [0.5, 1]
    assert sorted(bar.get_height() for bar in lower.patches)[-4:] == [2, 2, 4, 4]
    figure.savefig(io.BytesIO())


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_extremes_are_drawn_without_a_warning(share):
    """Nothing is found, or everything is certain."""
    probabilities = torch.full((5, 10), (1 - share) / 9)
    probabilities[:, 3] = share
    targets = torch.tensor([3, 3, 3, 3, 1])
    draw_reliability_diagram(probabilities, probabilities, targets).savefig(io.BytesIO())
