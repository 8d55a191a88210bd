"""Callbacks: progress, checkpoints, history, and the end of a run that diverges."""
