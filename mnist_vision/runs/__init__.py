"""The directory of a run and its records: only this package reads and writes them."""
