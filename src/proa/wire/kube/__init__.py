"""Kubernetes' encodings: protobuf bodies."""
