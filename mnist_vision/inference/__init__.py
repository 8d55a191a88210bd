"""Use what was trained: from any picture to digits, exported networks, and the web page."""
