"""Floor 0: time, chance, errors, quantities, configuration; it imports nothing of ours."""
