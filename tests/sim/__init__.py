"""The simulator: a fleet of the real loops in a hostile world, on virtual time, from a seed (`python -m tests.sim`)."""
