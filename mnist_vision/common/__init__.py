"""What every room uses: errors, checks, files, memory. Imports nothing else of this package."""
