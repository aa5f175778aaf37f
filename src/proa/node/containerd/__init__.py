"""containerd behind the Runtime port: configuration, client, exec."""
