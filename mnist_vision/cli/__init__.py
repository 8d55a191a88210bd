"""The front door of the commands: Hydra, early checks, signals, one-line errors, resuming."""
