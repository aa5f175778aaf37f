"""AWS Secrets Manager: secrets with versions and staging labels, sealed at rest."""
