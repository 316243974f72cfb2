"""Side by side with other clients, in one run, on one machine: `make bench`.

Invariants of this package: what is compared takes turns in one process, and is told as a ratio of CPU times;
only so does it mean something on a machine that others share.
"""
