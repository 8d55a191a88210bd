"""The comparison of finished runs: selection, statistics, and the report of its sections."""
