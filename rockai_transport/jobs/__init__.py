"""Predictions in an agent's hands: which models it may run, within which limits, and what it is told."""

from __future__ import annotations
