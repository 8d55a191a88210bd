"""Shared helpers: errors, checks, files, memory. They import no other part of mnist_vision."""
