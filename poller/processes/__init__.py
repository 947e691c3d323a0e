"""Several workers of the fleet as one service (`poller run --processes N`): a parent that does no work of its own."""
