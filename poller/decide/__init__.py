"""The decisions: pure functions and small state machines over `poller.model`, which take time as an argument.

Nothing here reads a clock, sleeps, draws a random number of its own, or knows asyncio or AWS.
"""
