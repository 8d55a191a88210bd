"""Numbers that describe MNIST. Importing them does not import torch."""

NUM_CLASSES = 10
MISSED = -1  # the prediction where a network finds no digit
IMAGE_SIZE = 28  # pixels a side
# Mean and standard deviation of the pixels of the 60,000 training images, in [0, 1].
PIXEL_MEAN = 0.1307
PIXEL_STD = 0.3081
