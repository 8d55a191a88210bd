"""Run sweeps: a failed job does not end the sweep, no job runs twice, a table shows all results.

The process of the sweep creates a `Sweep`. The process of a job, which may be on another machine,
calls `run_job`. The two share the sweep's directory, and nothing else.
"""
