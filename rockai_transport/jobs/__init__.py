"""Predictions in an agent's hands: framework-free, on the clients of `rockai_transport`."""
