import torch

from mnist_vision.data.datamodule import DigitDataset
from tests.data.scenes.helpers import RULES, blots, same


def test_a_whole_batch_is_fetched_at_once_and_equals_single_fetches():
    scene_set = RULES.lay_out(DigitDataset(*blots(50)), 20, seed=0)
    tiles, layouts = scene_set.__getitems__([3, 3, 17])
    assert tiles.shape == (3, 5, 1, 28, 28)
    assert tiles.dtype == torch.uint8
    for position, index in enumerate([3, 3, 17]):
        tile, layout = scene_set[index]
        assert same((tile, layout), (tiles[position], [values[position] for values in layouts]))


def test_sorting_keeps_every_scene():
    scene_set = RULES.lay_out(DigitDataset(*blots(50)), 90, seed=0)
    pairs = [
        sorted(zip(s.indices.tolist(), s.layouts.corners.tolist(), strict=True))
        for s in (scene_set, scene_set.by_canvas_size())
    ]
    assert pairs[0] == pairs[1]
