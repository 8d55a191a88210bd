"""Benchmarks: each measures ours and a baseline in the same run and reports the ratio."""
