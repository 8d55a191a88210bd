"""Download MNIST, verify it, batch it, augment it."""
