"""How model families write calls, as data: what opens a call, what stands in it, what closes it.

A call is written in one of these ways, all of them read alike: as a JSON value that holds name and arguments;
as a name and the arguments in JSON; as a name and tagged arguments; as a Python call. The families differ in
the tokens around and between. None of them is a family's own: models mix what they were trained on.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class CallFormat(NamedTuple):
    """The tokens of one family.

    Attributes:
        family: The models that write so.
        opening: What may stand before a call, in any number.
        between: What may stand between a name and its arguments.
        closing: What may stand behind a call; it is no text there.
        source: Where this was read, all of it in November 2026.
    """

    family: str
    opening: tuple[str, ...]
    between: tuple[str, ...] = ()
    closing: tuple[str, ...] = ()
    source: str = ""


FORMATS: Final = (
    CallFormat(
        "Hermes, Qwen 2.5 and 3; GLM 4.5 with tagged arguments",
        ("<tool_call>", "<tool_call name="),
        closing=("</tool_call>",),
        source="chat templates of Hermes-2-Pro-Llama-3-8B, Qwen2.5-7B-Instruct, GLM-4.5",
    ),
    CallFormat(
        "Jamba 1.5, Hunyuan A13B, MiniMax M1",
        ("<tool_calls>",),
        closing=("</tool_calls>",),
        source="vLLM's documentation of their parsers",
    ),
    CallFormat(
        "Glaive and what was tuned on its data",
        ("<function_call>", "<functioncall>", "<function_calls>"),
        closing=("</function_call>", "</functioncall>", "</function_calls>"),
        source="data set glaive-function-calling-v2",
    ),
    CallFormat(
        "Llama 3.1, Qwen3-Coder (tagged arguments)",
        ("<function=", "<function name="),
        between=(">",),
        closing=("</function>", "></function>"),
        source="Llama 3.1's model card, user-defined tools; chat template of Qwen3-Coder-30B-A3B-Instruct",
    ),
    CallFormat(
        "Llama 3.1 to 4",
        ("<|python_tag|>", "<|python_start|>"),
        closing=("<|python_end|>", "<|eom_id|>", "<|eot_id|>"),
        source="Llama 3.1's and 4's model cards",
    ),
    CallFormat(
        "Mistral",
        ("[TOOL_CALLS]",),
        between=("[CALL_ID]", "[ARGS]"),
        closing=("</s>",),
        source="mistral-common, tokenizers v3, v11 and v13",
    ),
    CallFormat(
        "DeepSeek V3, R1, V3.1",
        ("<\uff5ctool▁calls▁begin\uff5c>", "<\uff5ctool▁call▁begin\uff5c>", "function<\uff5ctool▁sep\uff5c>"),
        between=("<\uff5ctool▁sep\uff5c>",),
        closing=(
            "<\uff5ctool▁call▁end\uff5c>",
            "<\uff5ctool▁calls▁end\uff5c>",
            "<\uff5cend▁of▁sentence\uff5c>",
        ),
        source="chat templates of DeepSeek-V3-0324 and DeepSeek-V3.1",
    ),
    CallFormat(
        "Kimi K2",
        ("<|tool_calls_section_begin|>", "<|tool_call_begin|>"),
        between=("<|tool_call_argument_begin|>",),
        closing=("<|tool_call_end|>", "<|tool_calls_section_end|>"),
        source="tool_call_guidance.md of Kimi-K2-Instruct",
    ),
    CallFormat(
        "gpt-oss (Harmony)",
        (
            "<|start|>assistant",
            "<|start|>assistant to=",
            "<|channel|>commentary to=",
            "<|channel|>analysis to=",
            "<|end|>",
        ),
        between=("<|channel|>commentary", "<|constrain|>", "json", "code", "<|message|>"),
        closing=("<|call|>", "<|end|>", "<|return|>"),
        source="OpenAI's cookbook, «OpenAI Harmony Response Format»",
    ),
    CallFormat(
        "Claude's form, MiniMax M2, Seed OSS",
        ("<invoke name=", "<minimax:tool_call>", "<seed:tool_call>"),
        between=(">",),
        closing=("</invoke>", "</minimax:tool_call>", "</seed:tool_call>"),
        source="MiniMax-M2's tool calling guide, Seed-OSS's chat template",
    ),
    CallFormat(
        "Granite 3, Phi-4",
        ("<|tool_call|>",),
        closing=("<|/tool_call|>", "</|tool_call|>"),
        source="chat templates of granite-3.1-8b-instruct and Phi-4-mini-instruct",
    ),
    CallFormat(
        "Command R",
        ("<|START_ACTION|>",),
        closing=("<|END_ACTION|>",),
        source="Cohere's prompt guide for Command A",
    ),
    CallFormat(
        "InternLM 2.5",
        ("<|action_start|>", "<|plugin|>"),
        closing=("<|action_end|>",),
        source="chat format of internlm2_5-7b-chat",
    ),
    CallFormat(
        "Nemotron",
        ("<TOOLCALL>",),
        closing=("</TOOLCALL>",),
        source="chat template of Llama-3.1-Nemotron-Nano-8B-v1",
    ),
    CallFormat(
        "Gemma and others, in tags of their own",
        ("<tool_code>",),
        closing=("</tool_code>", "<end_of_turn>", "<|im_end|>", "<|endoftext|>", "<|end_of_text|>"),
        source="Gemma 3's function calling guide; the usual tokens at the end of a turn",
    ),
)

TAGGED_ARGUMENTS: Final = {
    "<parameter=": (">", "</parameter>"),
    "<parameter name=": (">", "</parameter>"),
    "<arg_key>": ("</arg_key>", "</arg_value>"),
}
"""What opens an argument's name, what stands behind the name, what closes its value. Sources: as above."""

FENCE: Final = "```"
CALL_FENCES: Final = ("tool_call", "tool_calls", "tool_code")
"""What a code fence that holds nothing but calls calls itself (Gemma 3's guide; Command R's)."""
FENCES: Final = (
    *("", "json", "json5", "jsonc", "python", "py", "xml", "text", "tool"),
    *CALL_FENCES,
)

OPENING: Final = tuple(token for row in FORMATS for token in row.opening)
BETWEEN: Final = tuple(dict.fromkeys(token for row in FORMATS for token in row.between))
CLOSING: Final = tuple(token for row in FORMATS for token in row.closing)

NAME_KEYS: Final = ("name", "tool", "tool_name", "function", "function_name", "action", "recipient_name")
ARGUMENT_KEYS: Final = (
    *("arguments", "parameters", "args", "params", "input", "tool_input", "action_input", "kwargs"),
)
LIST_KEYS: Final = ("tool_calls", "function_calls")
INNER_KEYS: Final = ("function", "tool_call", "function_call", "tool", "call")
# Read, and of no matter to the call: ids, and why the model makes it.
MARGINAL_KEYS: Final = frozenset(
    {"id", "type", "index", "tool_call_id", "call_id", "description"}
    | {"thought", "thoughts", "reasoning", "reason", "explanation", "rationale", "comment"}
)
FIXED_KEYS: Final = {
    "type": ("function", "function_call", "tool_call", "tool_use", "tool", "call"),
    "role": ("assistant",),
    "content": ("", "null", "None"),
}
"""Keys that a call, or OpenAI's message around it, has with these values only."""
CALL_KEYS: Final = frozenset(
    (*NAME_KEYS, *ARGUMENT_KEYS, *LIST_KEYS, *INNER_KEYS, *MARGINAL_KEYS, *FIXED_KEYS)
)
