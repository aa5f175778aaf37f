"""Amazon CloudWatch Logs: groups, streams, events, filters; ``service.build`` gives the gateway
its operations, ``intake.Intake`` the hull its way in for containers' output."""
