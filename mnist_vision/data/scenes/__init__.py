"""Scenes: several digits at random scales and places on a larger black canvas, for a detector."""
