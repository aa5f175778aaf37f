"""From a stored Pod to the Sandbox its agent runs: pure, never stored (DESIGN D1).

``pod.compile_pod`` is the entrance; ``sources`` says what it may look up; ``environment``,
``files``, ``containers`` and ``requests`` are its parts.
"""
