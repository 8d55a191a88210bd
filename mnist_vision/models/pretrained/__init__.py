"""What networks with ImageNet weights share: weights, fine-tuning, faster convolutions."""
