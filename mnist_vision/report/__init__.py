"""The comparison of finished runs: selection, grouping, and a report made of sections."""
