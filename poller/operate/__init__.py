"""What people do to a fleet from outside: see its leases, take one away, move a checkpoint."""
