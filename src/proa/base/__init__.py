"""Floor 0: time, chance, errors, quantities, configuration. Everything may import it; it imports nothing of ours."""
