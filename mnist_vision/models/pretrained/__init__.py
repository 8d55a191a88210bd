"""The parts of networks with ImageNet weights: weights, fine-tuning, faster convolutions."""
