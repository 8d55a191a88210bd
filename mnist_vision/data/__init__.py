"""Getting MNIST, checking it, batching it, augmenting it."""
