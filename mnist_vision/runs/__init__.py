"""A run's directory and its records: this package alone reads and writes them."""
