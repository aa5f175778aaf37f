"""AWS Security Token Service: ``service.build`` gives the gateway its operations,
``sessions.Sessions`` hands out temporary credentials inside Proa (task roles)."""
