"""Constants of MNIST and of reading several digits. Importing them does not import torch."""

NUM_CLASSES = 10
MISSED = -1  # the prediction where a network finds no digit
IMAGE_SIZE = 28  # pixels a side
# Mean and standard deviation of the pixels of the 60,000 training images, in [0, 1].
PIXEL_MEAN = 0.1307
PIXEL_STD = 0.3081
# Of an image of several digits, boxes of at least this score make up the sequence that is read. Of
# those that overlap by more than this IoU the best counts: a place holds one digit.
SEQUENCE_SCORE = 0.5
SAME_PLACE_IOU = 0.5
# Test images whose official label got fewer than 3 of the votes of 5 human workers. Source: C. G.
# Northcutt, A. Athalye and J. Mueller, "Pervasive Label Errors in Test Sets Destabilize Machine
# Learning Benchmarks", 2021, https://arxiv.org/abs/2103.14749; the votes: mturk/mnist_mturk.json of
# https://github.com/cleanlab/label-errors.
LABEL_ERRORS = (
    947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729,
)  # fmt: skip
