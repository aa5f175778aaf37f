"""Floor 1: the versioned store and the append port; see ``api`` for the contract."""
