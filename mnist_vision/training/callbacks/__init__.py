"""Callbacks: progress, history, checkpoints, pictures for TensorBoard, and a check of the loss."""
