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
        source: Where this was read, all of it in November 2026.
        opening: What may stand before a call, in any number.
        closing: What may stand behind a call; it is no text there.
        between: What may stand between a name and its arguments.
    """

    family: str
    source: str
    opening: tuple[str, ...]
    closing: tuple[str, ...]
    between: tuple[str, ...] = ()


_DEEPSEEK: Final = "<\uff5c{}\uff5c>".format
_HARMONY: Final = ("<|start|>assistant", "<|start|>assistant to=", "<|channel|>commentary to=")

# fmt: off
FORMATS: Final = (
    CallFormat("Hermes, Qwen 2.5 and 3; GLM 4.5 with tagged arguments",
               "chat templates of Hermes-2-Pro-Llama-3-8B, Qwen2.5-7B-Instruct, GLM-4.5",
               ("<tool_call>", "<tool_call name="), ("</tool_call>",)),
    CallFormat("Jamba 1.5, Hunyuan A13B, MiniMax M1", "vLLM's documentation of their parsers",
               ("<tool_calls>",), ("</tool_calls>",)),
    CallFormat("Glaive and what was tuned on its data", "data set glaive-function-calling-v2",
               ("<function_call>", "<functioncall>", "<function_calls>"),
               ("</function_call>", "</functioncall>", "</function_calls>")),
    CallFormat("Llama 3.1; Qwen3-Coder with tagged arguments",
               "Llama 3.1's model card, custom tools; chat template of Qwen3-Coder-30B-A3B-Instruct",
               ("<function=", "<function name="), ("</function>", "></function>"), (">",)),
    CallFormat("Llama 3.1 to 4", "Llama 3.1's and 4's model cards",
               ("<|python_tag|>", "<|python_start|>"), ("<|python_end|>", "<|eom_id|>", "<|eot_id|>")),
    CallFormat("Mistral", "mistral-common, tokenizers v3, v11 and v13",
               ("[TOOL_CALLS]",), ("</s>",), ("[CALL_ID]", "[ARGS]")),
    CallFormat("DeepSeek V3, R1, V3.1", "chat templates of DeepSeek-V3-0324 and DeepSeek-V3.1",
               (*map(_DEEPSEEK, ("tool▁calls▁begin", "tool▁call▁begin")), f"function{_DEEPSEEK('tool▁sep')}"),
               (*map(_DEEPSEEK, ("tool▁call▁end", "tool▁calls▁end", "end▁of▁sentence")),),
               (_DEEPSEEK("tool▁sep"),)),
    CallFormat("Kimi K2", "tool_call_guidance.md of Kimi-K2-Instruct",
               ("<|tool_calls_section_begin|>", "<|tool_call_begin|>"),
               ("<|tool_call_end|>", "<|tool_calls_section_end|>"), ("<|tool_call_argument_begin|>",)),
    CallFormat("gpt-oss", "OpenAI's cookbook, «OpenAI Harmony Response Format»",
               (*_HARMONY, "<|channel|>analysis to=", "<|end|>"), ("<|call|>", "<|end|>", "<|return|>"),
               ("<|channel|>commentary", "<|constrain|>", "json", "code", "<|message|>")),
    CallFormat("Claude's form, MiniMax M2, Seed OSS",
               "MiniMax-M2's tool calling guide, chat template of Seed-OSS-36B-Instruct",
               ("<invoke name=", "<minimax:tool_call>", "<seed:tool_call>"),
               ("</invoke>", "</minimax:tool_call>", "</seed:tool_call>"), (">",)),
    CallFormat("Granite 3, Phi-4", "chat templates of granite-3.1-8b-instruct and Phi-4-mini-instruct",
               ("<|tool_call|>",), ("<|/tool_call|>", "</|tool_call|>")),
    CallFormat("Command R and A", "Cohere's prompt guide for Command A",
               ("<|START_ACTION|>",), ("<|END_ACTION|>",)),
    CallFormat("InternLM 2.5", "chat format of internlm2_5-7b-chat",
               ("<|action_start|>", "<|plugin|>"), ("<|action_end|>",)),
    CallFormat("Nemotron", "chat template of Llama-3.1-Nemotron-Nano-8B-v1",
               ("<TOOLCALL>",), ("</TOOLCALL>",)),
    CallFormat("Gemma 3", "Gemma 3's function calling guide",
               ("<tool_code>",), ("</tool_code>", "<end_of_turn>")),
    CallFormat("any", "the usual tokens at the end of a turn",
               (), ("<|im_end|>", "<|endoftext|>", "<|end_of_text|>")),
)
# fmt: on

TAGGED_ARGUMENTS: Final = ("<parameter=", "<parameter name=", "<arg_key>")
"""What opens an argument's name: Qwen3-Coder's, MiniMax M2's, GLM 4.5's."""
FENCE: Final = "```"
CALL_FENCES: Final = ("tool_call", "tool_calls", "tool_code")
"""What a code fence that holds nothing but calls calls itself (Gemma 3's guide; Command R's)."""
FENCES: Final = ("", "json", "json5", "jsonc", "python", "py", "xml", "text", "tool", *CALL_FENCES)

OPENING: Final = tuple(token for row in FORMATS for token in row.opening)
BETWEEN: Final = tuple(dict.fromkeys(token for row in FORMATS for token in row.between))
CLOSING: Final = tuple(token for row in FORMATS for token in row.closing)

NAME_KEYS: Final = ("name", "tool", "tool_name", "function", "function_name", "action", "recipient_name")
# Text under one of the last three is the one argument of a tool that has one (LangChain's structured chat).
PLAIN_INPUT_KEYS: Final = ("input", "tool_input", "action_input")
ARGUMENT_KEYS: Final = (
    *("arguments", "argument", "parameters", "parameter", "args", "params", "kwargs", *PLAIN_INPUT_KEYS),
    *("inputs", "tool_args", "tool_arguments", "function_arguments"),
)
LIST_KEYS: Final = ("tool_calls", "function_calls")
INNER_KEYS: Final = ("function", "tool_call", "function_call", "tool", "call")
# Read, and of no matter to the call: ids, and why the model makes it.
_IDS: Final = ("id", "type", "index", "tool_call_id", "call_id", "description")
_REASONS: Final = ("thought", "thoughts", "reasoning", "reason", "explanation", "rationale", "comment")
MARGINAL_KEYS: Final = frozenset((*_IDS, *_REASONS))
FIXED_KEYS: Final = {
    "type": ("function", "function_call", "tool_call", "tool_use", "tool", "call"),
    "role": ("assistant",),
    "content": ("", "null", "None"),
}
"""Keys that a call, or OpenAI's message around it, has with these values only."""
CALL_KEYS: Final = frozenset(
    (*NAME_KEYS, *ARGUMENT_KEYS, *LIST_KEYS, *INNER_KEYS, *MARGINAL_KEYS, *FIXED_KEYS)
)
