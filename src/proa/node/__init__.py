"""Floor 4: the node agent: Sandboxes become containers, and what happens is reported."""
