"""What a run shows, keeps and refuses while it trains."""
