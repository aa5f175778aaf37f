"""Floor 1: the hull's nouns as frozen typed structs, with their arithmetic. No I/O."""
