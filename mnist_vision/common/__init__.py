"""Code that all other folders use: errors, checks, files, memory."""
