"""Sweeps: jobs that fail alone, are never run twice, and end in one table.

The process of the sweep makes a `Sweep`; the process of a job, which may be another one on another
machine, calls `run_job`. They share the sweep's directory, and nothing else.
"""
