"""Floor 3: what both bows stand on, as records and synchronous decisions."""
