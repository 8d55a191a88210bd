"""Test a trained network, and show its confusion matrix."""
