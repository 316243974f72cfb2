"""From the text that a model writes to text, reasoning, tool calls and structured values."""
