"""The CNI plugin that containerd calls: a forwarder, and the agent at its other end."""
