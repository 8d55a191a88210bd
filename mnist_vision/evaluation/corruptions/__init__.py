"""Corrupted test images: what the world does to digits, and MNIST's test images do not show."""
