"""Floor 5: the Kubernetes bow. ``api`` is the server, ``controllers`` keep the promises."""
