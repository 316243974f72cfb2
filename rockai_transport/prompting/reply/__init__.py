"""The model's output → text, reasoning, tool calls and structured values."""
