"""What finished runs say together: reading, grouping, statistics, plots, and the report."""
