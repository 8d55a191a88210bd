"""The photographs that measure the preparation are what they claim to be."""

import io
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from skimage.measure import label

from mnist_vision.data.mnist import load_split
from tests.inference.photographs import (
    ASPECTS,
    INKS,
    SIDES,
    development_set,
    draw,
    draw_shot,
    photograph,
    photographs,
    skeleton,
)


@pytest.fixture
def ring():
    """A thick 0."""
    y, x = np.mgrid[:28, :28] - 13.5
    return np.where(abs(np.hypot(x, y) - 6.5) < 2, 255, 0).astype(np.uint8)


@pytest.fixture
def shot():
    shot = draw_shot(np.random.default_rng(0))
    return replace(shot, width=300, height=240, size=0.5, place=(0.5, 0.5))


def decoded(jpeg):
    return Image.open(io.BytesIO(jpeg))


def grey(jpeg):
    return np.asarray(decoded(jpeg).convert("L"), np.float64)


def test_the_same_seed_gives_the_same_bytes(ring):
    images = np.stack([ring, ring])
    first, again, other = (list(photographs(images, seed)) for seed in (3, 3, 4))
    assert first == again
    assert first[0] != first[1]
    assert first[0] != other[0]


def test_a_photograph_does_not_depend_on_those_before_it(ring):
    _, second = photographs(np.stack([ring, ring]), seed=3)
    _, same = photographs(np.stack([np.flipud(ring) // 2, ring]), seed=3)
    assert second == same


def test_shots_are_in_their_ranges_and_reach_most_of_them():
    shots = [draw_shot(np.random.default_rng(seed)) for seed in range(500)]
    ranges = {
        "size": (0.40, 0.75),
        "angle": (-15, 15),
        "pen": (0.02, 0.08),
        "darkest": (0.5, 0.95),
        "quality": (60, 90),
        "side": (200, 900),
    }
    for name, (low, high) in ranges.items():
        values = np.array([getattr(shot, name) for shot in shots])
        assert low <= values.min() < low + 0.1 * (high - low), name
        assert high - 0.1 * (high - low) < values.max() <= high, name
    assert max(max(shot.width, shot.height) for shot in shots) <= SIDES[1]
    assert {shot.ink for shot in shots} == INKS.keys()
    assert len({shot.width > shot.height for shot in shots}) == 2
    aspects = {round(max(s.width, s.height) / s.side, 1) for s in shots}
    assert aspects == {round(aspect, 1) for aspect in ASPECTS}


def test_the_photograph_is_a_jpeg_in_colour_of_the_size_of_the_shot(ring, shot):
    picture = decoded(photograph(ring, shot, np.random.default_rng(0)))
    assert picture.format == "JPEG"
    assert picture.mode == "RGB"
    assert picture.size == (300, 240)


@pytest.mark.parametrize("darkest", [0.5, 0.8])
def test_the_light_falls_to_the_darkest_that_the_shot_asks_for(ring, shot, darkest):
    shot = replace(shot, darkest=darkest, noise=0, exposure=0.95, paper=(1, 1, 1), size=0.4)
    levels = grey(photograph(ring, shot, np.random.default_rng(0)))
    rim = np.concatenate([*levels[:8], *levels[-8:], *levels.T[:8], *levels.T[-8:]])
    darkest_seen, brightest = np.quantile(rim, [0.005, 0.995])
    assert darkest_seen / brightest == pytest.approx(darkest, abs=0.1)


@pytest.mark.parametrize("pen", [0.02, 0.05, 0.08])
def test_the_stroke_is_as_wide_as_the_pen(ring, shot, pen):
    ink = draw(skeleton(ring), replace(shot, pen=pen, angle=0))
    # Around a ring of 13 pixels, drawn on half of 240.
    length = np.pi * 0.5 * shot.side
    assert ink.sum() / length == pytest.approx(pen * shot.side, rel=0.1)


def test_a_thick_pen_is_replaced_where_it_would_close_a_loop(shot):
    y, x = np.mgrid[:28, :28] - 13.5
    upper = np.hypot(x, y + 4.5)
    lower = np.hypot(x, y - 5)
    eight = np.where((abs(upper - 3.5) < 1.2) | (abs(lower - 5) < 1.2), 255, 0).astype(np.uint8)
    ink = draw(skeleton(eight), replace(shot, pen=0.08, size=0.4))
    assert label(ink < 0.5).max() == 3  # the paper, and two loops


def test_the_digit_is_whole_wherever_it_is_placed(ring, shot):
    lines = skeleton(ring)
    places = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.5, 0.5)]
    inks = [draw(lines, replace(shot, place=place, size=0.75)) for place in places]
    for ink in inks:
        assert not any(edge.any() for edge in (ink[0], ink[-1], ink[:, 0], ink[:, -1]))
    sums = [ink.sum() for ink in inks]
    assert all(a == pytest.approx(b, rel=0.01) for a, b in pairwise(sums))


def test_the_digit_turns_counterclockwise_by_the_angle(shot):
    bar = np.zeros((28, 28), np.uint8)
    bar[4:24, 13:15] = 255
    ink = draw(skeleton(bar), replace(shot, angle=10))
    y, x = np.nonzero(ink > 0.5)
    slope = np.polyfit(y, x, 1)[0]  # to the right, going down
    assert np.rad2deg(np.arctan(slope)) == pytest.approx(10, abs=1)


def test_the_development_set_shows_training_digits_and_grows_at_its_end(mnist_root):
    pairs = development_set(3)
    assert development_set(2) == pairs[:2]
    _, labels = load_split(mnist_root, "train")
    chosen = np.random.default_rng(1).permutation(len(labels))[:3]
    assert [label for _, label in pairs] == labels[chosen].tolist()
