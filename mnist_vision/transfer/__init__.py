"""What networks trained on photographs need to learn digits."""
