"""The pure half of the Kubernetes API: what kinds there are, and what may be done to their objects."""
