"""A comparison with other clients, in one run, on one machine: `make bench`.

Invariants of this package: compared clients take turns in one process, and the result is a ratio of CPU
times; otherwise it would mean nothing on a shared machine.
"""
