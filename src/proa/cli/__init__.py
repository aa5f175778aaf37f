"""Floor 8: ``proa …``. ``main`` is the entry point; each command imports what it needs when it
runs, so that ``proa env`` answers in a blink."""
