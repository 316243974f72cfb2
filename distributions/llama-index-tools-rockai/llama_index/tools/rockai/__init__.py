"""RockAI's tools for agents, under LlamaIndex's own namespace; the code is in `llama_index_rockai`."""

from llama_index_rockai import (
    ANIMATE_IMAGE,
    GENERATE_IMAGE,
    ApprovalRequiredEvent,
    HostedModel,
    PredictionProgressEvent,
    RockAIToolSpec,
)

__all__ = [
    "ANIMATE_IMAGE",
    "GENERATE_IMAGE",
    "ApprovalRequiredEvent",
    "HostedModel",
    "PredictionProgressEvent",
    "RockAIToolSpec",
]
