"""From snapshots to what the data plane is told: VIP rules, DNS zones. Pure functions."""
