"""The text models follow tool instructions by reading them, in the two forms that they know."""

import json

import pytest

from rockai_sandbox.models.text import LLAMA_2_7B, LLAMA_3_70B, MISTRAL_7B

WEATHER = {
    "name": "get_weather",
    "description": "Look up the current weather of a place.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city"],
    },
}
MULTIPLY = {
    "name": "multiply",
    "description": "Multiply two numbers.",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
}
DRAW = {
    "name": "generate_image",
    "description": "Draw an image.",
    "parameters": {"properties": {"prompt": {"type": "string"}}, "required": ["prompt"]},
}
ANIMATE = {
    "name": "animate_image",
    "description": "Animate an image.",
    "parameters": {
        "properties": {"image": {"type": "string"}, "max_frames": {"type": "integer"}},
        "required": ["image"],
    },
}
FORM = '<tool_call>{"name": "function name", "arguments": {"argument name": "value"}}</tool_call>'
RESULTS = "Results are given to you in <tool_response> tags."


def instructions(form=FORM, results=RESULTS, more="", tools=(WEATHER, MULTIPLY)):
    schemas = "\n".join(json.dumps(tool) for tool in tools)
    told = [
        "You have these functions:",
        schemas,
        "To call one, answer in exactly this form:",
        form,
        results,
        more,
    ]
    return "\n".join(told).strip()


def ask(request, system=None, *later):
    """Ask a model; later turns alternate between model and user."""
    prompt = request
    for index, turn in enumerate(later):
        prompt += f" [/INST] {turn}" if index % 2 == 0 else f" </s><s>[INST] {turn}"
    return LLAMA_2_7B.reply({"prompt": prompt, "system_prompt": instructions() if system is None else system})


def call(name, **arguments):
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def response(content):
    return f"<tool_response>{content}</tool_response>"


def test_the_function_that_fits_is_called_with_what_was_said():
    """In the form of the example, chosen by name and description."""
    assert ask("What is the weather in San Francisco, CA?") == call("get_weather", city="San Francisco, CA")
    assert ask("Please multiply 6 by 7.") == call("multiply", a=6, b=7)
    assert ask("The weather in Oslo in fahrenheit?") == call("get_weather", city="Oslo", unit="fahrenheit")


def test_nothing_is_called_where_nothing_fits():
    """The answer is the one without tools."""
    assert ask("Hello!") == LLAMA_2_7B.reply({"prompt": "Hello!"})


def test_a_result_is_reported():
    """Taken out of its tag, and out of JSON that wraps it."""
    request, called = "What is the weather in Rome?", call("get_weather", city="Rome")
    assert ask(request, None, called, response("sunny")).endswith("\nsunny")
    wrapped = response(json.dumps({"name": "get_weather", "content": "mild & dry"}))
    assert ask(request, None, called, wrapped).endswith("\nmild & dry")


def test_a_taskof_two_steps_takes_two_calls():
    """The second comes after the first one's result, then both results are told."""
    request = "What is the weather in Rome, and then multiply 6 by 7."
    first, second = call("get_weather", city="Rome"), call("multiply", a=6, b=7)
    assert ask(request) == first
    assert ask(request, None, first, response("sunny")) == second
    assert ask(request, None, first, response("sunny"), second, response("42")).endswith("\nsunny\n42")


def test_a_later_step_takes_what_an_earlier_one_found():
    """An address in a result stands in for «it»."""
    system = instructions(tools=(DRAW, ANIMATE))
    request = "Draw an image of a red fox, then animate it with 16 frames."
    first = ask(request, system)
    assert first == call("generate_image", prompt="a red fox")
    url = "http://127.0.0.1:1/x/output.png"
    assert ask(request, system, first, response(url)) == call("animate_image", image=url, max_frames=16)


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        ("Make a video of a talking porcelain statue.", ["generate_image", "animate_image"]),
        ("制作一个瓷雕像的视频。", ["generate_image", "animate_image"]),
        ("画一只瓷猫的图片，然后让这张图片动起来。", ["generate_image", "animate_image"]),
        ("Draw a picture of a boat and animate it.", ["generate_image", "animate_image"]),
        ("Animate http://127.0.0.1:1/a.png with 16 frames.", ["animate_image"]),
    ],
)
def test_a_picture_is_made_first_where_one_is_needed(request_, names):
    """A request for a video, without an address, takes two calls; with one, the video alone."""
    system, url, turns, calls = instructions(tools=(DRAW, ANIMATE)), "http://127.0.0.1:1/a.png", [], []
    while (said := ask(request_, system, *turns)).startswith("<tool_call>"):
        calls.append(json.loads(said[11:-12]))
        turns += [said, response(url)]
    assert [one["name"] for one in calls] == names
    assert calls[-1]["arguments"]["image"] == url


def test_a_common_word_does_not_name_a_class():
    """«the weather» asks for the function that tells it; only «Weather» names the answer's class."""
    weather = {"name": "Weather", "description": "The weather.", "parameters": WEATHER["parameters"]}
    system = instructions(more="You must call a function now.", tools=(WEATHER, weather))
    assert ask("What is the weather in Rome?", system) == call("get_weather", city="Rome")
    assert ask("Call Weather for Rome.", system).startswith('<tool_call>{"name": "Weather"')


def test_a_new_taskis_answered_anew():
    """Results before it do not count."""
    first = call("multiply", a=6, b=7)
    told = ask("Multiply 6 by 7.", None, first, response("42"), "It is 42.", "Multiply 2 by 3.")
    assert told == call("multiply", a=2, b=3)


@pytest.mark.parametrize(
    "form",
    [
        "",
        "a call",
        '<tool_call>{"name": "x", "arguments": {}}',
        "<tool_call></tool_call>",
        '<function>{"tool": "its name", "input": {}}</function>',
        '{"name": "its name", "arguments": {"argument": "value"}}',
        '```json\n{"name": "its name", "arguments": {}}\n```',
        '<call>\n{"name": <name>, "parameters": <object>}\n</call>',
    ],
)
def test_instructions_that_show_another_form_or_none_give_no_call(form):
    """A garbled example is not guessed at, so a client that teaches another form finds no call."""
    assert "multiply" not in ask("Multiply 6 by 7.", instructions(form)).replace("You said: Multiply", "")


def test_another_tag_gives_another_call():
    """The tag is read from the instructions: a client that teaches one and reads another finds no call."""
    form = FORM.replace("tool_call", "do")
    told = '<do>{"name": "multiply", "arguments": {"a": 6, "b": 7}}</do>'
    assert ask("Multiply 6 by 7.", instructions(form)) == told


def test_results_in_another_tag_are_not_seen():
    """They are taken for what the user says, which asks for nothing more."""
    first = call("multiply", a=6, b=7)
    told = ask("Multiply 6 by 7.", None, first, "<observation>42</observation>")
    assert "<observation>42</observation>" in told
    assert "Here is what the tools say" not in told


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ("You must call the function multiply now: answer with <tool_call> and nothing else.", "multiply"),
        ("You must call a function now.", "get_weather"),
    ],
)
def test_a_demanded_call_is_made_even_where_nothing_fits(more, name):
    """The one that is named, else any."""
    assert f'"name": "{name}"' in ask("Hello!", instructions(more=more))


def test_instructions_inside_the_first_user_turn_are_followed_too():
    """Mistral has no system turn: the system text opens the user's first one."""
    prompt = f"[INST] Be brief.\n\n{instructions()}\n\nMultiply 6 by 7. [/INST]"
    bare = {"prompt_template": "{prompt}"}
    first = MISTRAL_7B.reply({"prompt": prompt, **bare})
    assert first == call("multiply", a=6, b=7)
    prompt += f"{first}</s> [INST] {response(42)} [/INST]"
    assert MISTRAL_7B.reply({"prompt": prompt, **bare}).endswith("\n42")


def test_llama_3_reads_results_in_a_role_of_their_own():
    """A tool's turn holds the result."""
    turns = [("system", instructions()), ("user", "Multiply 6 by 7."), ("ipython", response(42))]
    text = "".join(f"<|start_header_id|>{role}<|end_header_id|>\n\n{said}<|eot_id|>" for role, said in turns)
    text += "<|start_header_id|>assistant<|end_header_id|>\n\n"
    assert LLAMA_3_70B.reply({"prompt": text, "prompt_template": "{prompt}"}).endswith("\n42")


@pytest.mark.parametrize(
    ("schema", "task", "value"),
    [
        ({"type": "string"}, 'Use thing with "a b".', "a b"),
        ({"type": "string"}, "Use thing for 你好啊集团.", "你好啊集团"),
        ({"type": "number"}, "Use thing 2.5.", 2.5),
        ({"type": "integer"}, "Use thing.", 1),
        ({"type": "boolean"}, "Use thing.", True),
        ({"type": "boolean"}, "Do not use thing.", False),
        ({"enum": ["red", "blue"]}, "Use thing in blue.", "blue"),
        ({"const": "fixed"}, "Use thing.", "fixed"),
        ({"type": "array", "items": {"type": "integer"}}, "Use thing 1, 2 and 3.", [1, 2, 3]),
        ({"type": "array", "items": {"type": "string"}}, "Use thing 'a' and 'b'.", ["a", "b"]),
        ({"type": ["string", "null"]}, 'Use thing "x".', "x"),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, "Use thing 4.", 4),
        ({"$ref": "#/$defs/Point"}, "Use thing 3, 4.", {"x": 3, "y": 4}),
    ],
)
def test_arguments_are_filled_by_type(schema, task, value):
    """Every kind of JSON schema that frameworks write."""
    point = {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
        "required": ["x", "y"],
    }
    parameters = {"properties": {"value": schema}, "required": ["value"], "$defs": {"Point": point}}
    tool = {"name": "use_thing", "description": "Use a thing.", "parameters": parameters}
    assert (
        ask(task, instructions(tools=(tool,)))
        == "<tool_call>"
        + json.dumps({"name": "use_thing", "arguments": {"value": value}}, ensure_ascii=False)
        + "</tool_call>"
    )


REACT = """You can use these tools:
> Tool Name: multiply
Tool Description: multiply(a: int, b: int)
Multiply two numbers.
Tool Args: {"properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]}

```
Thought: I need to use a tool to help me answer the question.
Action: tool name (one of multiply) if using a tool.
Action Input: the input to the tool, in a JSON format (e.g. {"input": "hello"})
```
The tool will respond in the following format:

```
Observation: tool response
```

```
Thought: I can answer without using any more tools.
Answer: [your answer here]
```

Below is the current conversation consisting of interleaving human and assistant messages."""


def test_react_instructions_are_read_as_well():
    """Thought, action, input, observation, answer: as LlamaIndex's agent writes them."""
    first = ask("Multiply 6 by 7.", REACT)
    assert first == 'Thought: I need a tool.\nAction: multiply\nAction Input: {"a": 6, "b": 7}'
    told = ask("Multiply 6 by 7.", REACT, first, "Observation: 42")
    assert told == "Thought: I can answer without using any more tools.\nAnswer: 42"


def test_react_instructions_with_other_labels_give_no_call():
    """They are no longer the agent's."""
    assert "Deed" not in ask("Multiply 6 by 7.", REACT.replace("Action", "Deed"))


def test_json_is_answered_where_it_is_demanded():
    """By the schema in the prompt, or by the keys that it names."""
    schema = {
        "properties": {"topic": {"type": "string"}, "score": {"type": "integer"}},
        "required": ["topic", "score"],
    }
    system = (
        f"Answer with one JSON object that fits this JSON schema:\n{json.dumps(schema)}\nWrite nothing else."
    )
    assert json.loads(ask("Tell me a joke about cats.", system)) == {"topic": "cats", "score": 1}
    asked = "Tell me a joke about cats. Return it as JSON with 'setup' and 'punchline' keys."
    assert json.loads(ask(asked, "")) == {"setup": "cats", "punchline": "cats"}


def test_brackets_without_end_are_survived():
    """Text that only looks like JSON is text."""
    assert "sandbox" in ask("[" * 100_000 + "{" * 1000, "")
