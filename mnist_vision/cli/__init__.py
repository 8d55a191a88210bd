"""Run the commands: Hydra, early checks, signals, one-line errors, resumed runs."""
