"""Speed as ratios: the measures, and what they are measured against."""
