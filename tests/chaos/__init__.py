"""Chaos on real processes: six workers on real servers, faults of every kind, an oracle over what reached the queues.

`python -m tests.chaos --minutes 5 --seed 7` is `make chaos`; with `--soak`: `make soak`.
"""
