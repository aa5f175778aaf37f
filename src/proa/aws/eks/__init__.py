"""Amazon EKS: clusters, who may enter them, and what is still refused by name."""
