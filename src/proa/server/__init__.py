"""Floor 6: where everything is put together from ports, and the HTTP shells around handlers."""
