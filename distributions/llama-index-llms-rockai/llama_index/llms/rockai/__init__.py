"""RockAI as an LLM, under LlamaIndex's own namespace; the code is in `llama_index_rockai`."""

from llama_index_rockai import Dialect, RockAI

__all__ = ["Dialect", "RockAI"]
