"""Floor 5: the AWS bow. ``gateway`` speaks the protocols; one slice a service."""
