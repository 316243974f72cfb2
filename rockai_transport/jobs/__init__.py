"""Predictions that agents start: which models an agent may run, within which limits, and what it reads."""

from __future__ import annotations
