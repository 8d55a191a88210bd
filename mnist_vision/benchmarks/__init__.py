"""Benchmarks: each measures this project and a baseline in the same run, and reports the ratio."""
