import numpy as np

from mnist_vision.evaluation.confusion_matrix import count_confusions, draw_confusion_matrix


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_rows_are_targets_and_columns_predictions():
    targets = np.array([*range(10), 3, 3, 3])
    predictions = np.array([*range(10), 5, 5, 3])
    expected = np.eye(10, dtype=int)
    expected[3, [3, 5]] = 2
    np.testing.assert_array_equal(count_confusions(targets, predictions), expected)


def test_missed_digits_have_a_column_of_their_own():
    targets = np.arange(10)
    counts = count_confusions(targets, np.where(targets == 4, -1, targets))
    assert counts.shape == (10, 11)
    assert (counts[4, 4], counts[4, 10], counts.sum()) == (0, 1, 10)


def test_the_figure_shows_every_image():
    """Twenty images: a 4 is called a 9, a 7 a 1."""
    targets = np.arange(20) % 10
    predictions = targets.copy()
    predictions[[4, 7]] = 9, 1
    figure = draw_confusion_matrix(targets, predictions)
    assert sum(map(int, texts(figure))) == 20
    assert figure.axes[0].get_title() == "2 of 20 wrong"
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list("0123456789")


def test_the_figure_shows_what_was_missed():
    targets = np.arange(20) % 10
    predictions = targets.copy()
    predictions[[4, 7]] = -1, 1
    figure = draw_confusion_matrix(targets, predictions, "a network")
    assert sum(map(int, texts(figure))) == 20
    assert figure.axes[0].get_title() == "a network\n2 of 20 wrong, 1 of them missed"
    assert figure.axes[0].get_xticklabels()[-1].get_text() == "none"


def test_correct_predictions_have_no_colour():
    image = draw_confusion_matrix(np.arange(10), np.arange(10)).axes[0].images[0]
    assert not image.get_array().any()
