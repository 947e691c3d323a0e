"""The loops: asyncio tasks that carry out what `poller.decide` decides, through the ports in `poller.run.ports`."""
