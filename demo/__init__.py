"""The main job, shown in a terminal: a chain, an LLM, and an agent that makes a video."""
