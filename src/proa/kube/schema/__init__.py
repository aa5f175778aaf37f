"""The pure half of the Kubernetes API: which kinds there are and what may be done to objects."""
