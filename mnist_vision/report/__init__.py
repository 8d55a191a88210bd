"""The comparison of finished runs: selection, statistics, and a report made of sections."""
