"""Objects that fill in while they stream: each is a prefix of the next, and the last one is validated."""

import asyncio
import json
import typing
from collections.abc import Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    RootModel,
    computed_field,
    create_model,
    field_serializer,
    field_validator,
)

from langchain_rockai import ChatRockAI
from llama_index_rockai import RockAI
from rockai_transport import InvalidResponseError
from rockai_transport.adapters import OutputParser, partial_object
from rockai_transport.adapters.partial import PartialObjects
from rockai_transport.prompting.reply.reader import Reading

MODEL = "my/hermes"
WAYS = ["sync", "async"]


class Stop(BaseModel):
    """A stop of a journey."""

    city: str
    nights: int


class Journey(BaseModel):
    """A journey."""

    name: str
    price: int = Field(alias="the_price", lt=1000)
    stops: list[Stop] | None = None
    first: Stop

    @field_validator("name")
    @classmethod
    def is_capital(cls, name: str) -> str:
        """Refuse what is no name."""
        if not name.istitle():
            raise ValueError("not a name")
        return name


class Bill(BaseModel):
    """A class with code of its own, which needs all fields."""

    paid_on: date
    price: int
    tip: int

    _sum: int = PrivateAttr(default=0)

    def model_post_init(self, context: Any) -> None:
        self._sum = self.price + self.tip

    @computed_field  # type: ignore[prop-decorator] # mypy allows no decorator above `property`
    @property
    def total(self) -> int:
        return self.price + self.tip

    @field_serializer("paid_on")
    def as_text(self, value: date) -> str:
        return value.isoformat()


class Label(BaseModel):
    """A class whose fields have names that pydantic's own functions use, and a value that is no object."""

    model_config = ConfigDict(populate_by_name=True)

    cls: str
    tags: RootModel[list[str]]
    kind: str = Field(alias="_fields_set")


class Branch(BaseModel):
    """A class that refers to itself."""

    label: str
    branches: list["Branch"] = []


VALUE = {
    "name": 'É "Grand" 7 \U0001f600 Tour',
    "the_price": 375,
    "stops": [{"city": "Paris", "nights": 12}, {"city": "Rome", "nights": 34}],
    "first": {"city": "Paris", "nights": 12},
}
JSON = json.dumps(VALUE)
CALL = f'<tool_call>{{"name": "Journey", "arguments": {JSON}}}</tool_call>'
WRONG = CALL.replace("375", "3750")


def is_prefix(before: Any, after: Any) -> bool:
    """Whether a JSON value may become another one by more of it; None stands for what has not come."""
    if before is None:
        return True
    if isinstance(before, dict):
        return all(is_prefix(item, after[key]) for key, item in before.items())
    if isinstance(before, list):
        return len(before) <= len(after) and all(map(is_prefix, before, after))
    return after.startswith(before) if isinstance(before, str) else before == after


@pytest.fixture
def streams(sandbox):
    """Script what the model streams, a text for each run, in pieces of a size."""

    def script(*answers: str, size: int = 3) -> list[Any]:
        asked: list[Any] = []

        @sandbox.model(MODEL)
        def talk(input):
            asked.append(input)
            text = answers[len(asked) - 1]
            yield from (text[at : at + size] for at in range(0, len(text), size))

        return asked

    return script


async def objects_of(framework, way):
    """All that a stream gives."""
    llm = framework.make()
    if way == "sync":
        return list(framework.objects(llm, Journey))
    return [one async for one in await framework.aobjects(llm, Journey)]


@pytest.mark.parametrize("way", WAYS)
async def test_leaving_early_cancels_the_run(framework, sandbox, way):
    """Nothing reads on behind the object that was the last to be looked at."""
    gate = sandbox.hold()

    @sandbox.model(MODEL)
    def talk(input):
        yield CALL[:60]
        gate.wait()
        yield CALL[60:]

    llm = framework.make(route="predictions")
    if way == "sync":
        objects = framework.objects(llm, Journey)
        next(objects)
        objects.close()
    else:
        objects = await framework.aobjects(llm, Journey)
        await anext(objects)
        await objects.aclose()
    assert (await asyncio.to_thread(sandbox.wait_for, "canceled", 5.0)).model == MODEL


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "text", [CALL, JSON, "<think>{}</think>\n" + CALL, "Here: ```json\n" + JSON + "\n```"]
)
async def test_an_object_fills_in(framework, streams, text, way):
    """However the model writes it; one run is made."""
    asked = streams(text)
    *partial, last = await objects_of(framework, way)
    assert (last, len(asked)) == (Journey(**VALUE), 1)
    assert type(last) is Journey
    assert len(partial) > 5
    assert all(isinstance(one, Journey) for one in partial)
    values = [one.model_dump() for one in [*partial, last]]
    assert all(is_prefix(before, after) for before, after in pairwise(values))
    assert {one.name for one in partial} >= {'É "Grand" 7 \U0001f600 Tour'}
    assert any(one.stops and isinstance(one.stops[0], Stop) for one in partial)


@pytest.mark.parametrize("way", WAYS)
async def test_asking_again_is_announced(framework, streams, way):
    """An object of which nothing has come stands between the two answers; the first is never the last."""
    asked = streams(WRONG, CALL)
    objects = await objects_of(framework, way)
    (at,) = [
        at for at, one in enumerate(objects) if not any(value is not None for value in vars(one).values())
    ]
    for answer in (objects[:at], objects[at + 1 :]):
        values = [one.model_dump() for one in answer]
        assert len(values) > 5
        assert all(is_prefix(before, after) for before, after in pairwise(values))
    assert (objects[-1], len(asked)) == (Journey(**VALUE), 2)


OTHER = JSON.replace("375", "12")


@pytest.mark.parametrize(
    ("text", "announced"),
    [
        (f"Perhaps {OTHER} fits.</think>\n{CALL}", True),
        (f'{{"properties": {{"name": {{"type": "string"}}}}}}\n{CALL}', True),
        (CALL.replace("375", '"375"'), True),
        (CALL + CALL.replace("375", "12"), False),
    ],
)
@pytest.mark.parametrize("size", [3, 40])
async def test_what_is_not_in_the_last_object_is_taken_back_first(framework, streams, text, announced, size):
    """An object in reasoning, one of a schema, a converted value; the second of two calls is not shown."""
    streams(text, size=size)
    values = [one.model_dump() for one in await objects_of(framework, "sync")]
    nothing = dict.fromkeys(values[-1])
    for before, after in pairwise(values):
        assert after == nothing or is_prefix(before, after)
    assert values[-1] == Journey(**VALUE).model_dump()
    assert (nothing in values) is announced


def test_what_never_fits_is_an_error_at_the_end(framework, streams):
    """As without a stream."""
    streams(WRONG, WRONG)
    with pytest.raises(InvalidResponseError, match="asked twice"):
        list(framework.objects(framework.make(), Journey))


@pytest.mark.parametrize("by_call", [True, False])
@pytest.mark.parametrize("size", [1, 2, 5, 11])
def test_nothing_is_told_that_is_taken_back(size, by_call):
    """However it is cut: no half number, word or escape; nor a call's name, where none was asked for."""
    partials = PartialObjects(OutputParser.of_class(Journey, by_call=by_call), Reading())
    texts = [CALL[:end] for end in range(0, len(CALL), size)]
    told = [value for text in texts if (value := partials.read(text)) is not None]
    assert all(is_prefix(before, after) for before, after in pairwise([*told, VALUE]))
    assert len(told) > 5


@pytest.mark.parametrize("number", [1.25, -0.001, 2.5e-7, 1e100, 0.30000000000000004, -12, 0])
@pytest.mark.parametrize(
    "form", ['{"a": %s, "b": [1, %s], "c": {"d": %s}, "e7": "1.5"}', '{"a": [[%s], %s, %s]}']
)
def test_a_number_is_told_once_it_cannot_go_on(number, form):
    """However many digits it has: another one may leave a float as it is."""
    text = form % ((json.dumps(number),) * 3)
    partials = PartialObjects(OutputParser(by_call=False), Reading())
    told = [value for end in range(len(text)) if (value := partials.read(text[:end])) is not None]
    assert all(is_prefix(before, after) for before, after in pairwise([*told, json.loads(text)]))
    assert len(told) >= 2


def test_a_name_that_has_begun_with_a_digit_takes_no_number_back():
    """What stands before it has ended."""
    assert PartialObjects(OutputParser(by_call=False), Reading()).read('{"1": 1.5, "2') == {"1": 1.5}


@pytest.mark.parametrize(
    "text",
    [
        "{'name': 'a",
        '{"other": 1, "name": "a',
        '{"name": "Jour',
        "[1, 2",
        "no {braces} here",
        '{"name',
        JSON,
        "",
    ],
)
def test_what_is_not_known_to_be_the_object_is_not_told(text):
    """Python's quotes, other names, the call's own name, no object, and one that is complete."""
    assert PartialObjects(OutputParser.of_class(Journey), Reading()).read(text) is None


def test_nan_is_no_json_and_not_told():
    """As the accepted reply; it is not equal to itself, so that each result took back the one before."""
    partials = PartialObjects(OutputParser(by_call=False), Reading())
    text = '{"a": 1, "b": NaN, "c": "xyz'
    told = [value for end in range(len(text)) if (value := partials.read(text[:end])) is not None]
    assert told == [{"a": 1}]


class Counted(PartialObjects):
    """Counts how much text is read."""

    total = 0

    def read(self, text):
        self.total += len(text)
        return super().read(text)


def fed(text, inside="", size=4):
    """Feed a reply in pieces; return the reader and what it told."""
    partials = Counted(OutputParser.of_class(Branch), Reading(inside_reasoning=inside))
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return partials, [value for piece in pieces if (value := partials.feed([piece])) is not None]


def test_a_long_reply_is_read_in_linear_time():
    """Each result is read from the beginning; so the longer the text is, the rarer they are."""
    text = json.dumps({"label": "a b " * 15_000, "branches": []})
    (short, some), (long, more) = fed(text[:30_000]), fed(text)
    assert long.total < 2.1 * short.total
    assert len(more) - len(some) > 50
    assert all(is_prefix(before, after) for before, after in pairwise([*more, json.loads(text)]))


def test_a_short_reply_gives_an_object_for_each_piece():
    """However long the reasoning before it is; that is read once."""
    value = '{"label": "' + "a b " * 200
    _, told = fed(f"<think>{'Hm {}. ' * 5_000}</think>{value}")
    assert len(told) >= 199
    _, told = fed(f"{'Hm {}. ' * 5_000}</think>{value}", "</think>")
    assert len(told) >= 199
    _, told = fed(f"{'Hm. ' * 5_000}</think>\n{value}")
    assert len(told) >= 199


def test_a_dict_lacks_what_has_not_come(sandbox, streams):
    """For JSON schemas and TypedDicts; content in standard blocks changes nothing."""
    for llm in (ChatRockAI(model=MODEL), ChatRockAI(model=MODEL, output_version="v1")):
        for method in ("function_calling", "json_schema", "json_mode"):
            streams(JSON if method != "function_calling" else CALL)
            schema = None if method == "json_mode" else Journey.model_json_schema()
            values = list(llm.with_structured_output(schema, method=method).stream("x"))
            assert len(values) > 5
            assert values[-1] == VALUE
            assert all(is_prefix(before, after) for before, after in pairwise(values))


def test_messages_hold_nothing_of_an_answer_that_may_be_refused(sandbox, streams):
    """The model's own stream is as it was: what has come of the object is beside the text, never added."""
    streams(WRONG, CALL)
    bound = ChatRockAI(model=MODEL).with_structured_output(Journey).first
    chunks = list(bound.stream("x"))
    assert "".join(chunk.text for chunk in chunks) == ""
    assert [call["args"] for call in sum(chunks[1:], chunks[0]).tool_calls] == [VALUE]
    streams(WRONG, CALL)
    assert ChatRockAI(model=MODEL).with_structured_output(Journey).invoke("x") == Journey(**VALUE)


@pytest.mark.filterwarnings("ignore:The `json` method is deprecated")  # core's own call
def test_a_structured_llm_streams_them_as_json(sandbox, streams):
    """LlamaIndex's `as_structured_llm`: each response has the object, and its JSON as text."""
    streams(CALL)
    llm = RockAI(model=MODEL, context_window=4096).as_structured_llm(Journey)
    responses = list(llm.stream_chat([ChatMessage("x")]))
    assert len(responses) > 5
    assert responses[-1].raw == Journey(**VALUE)
    assert all(json.loads(one.message.content).keys() == Journey.model_fields.keys() for one in responses)


def test_a_class_without_values_is_one_of_its_own():
    """Fields by their own names, inner objects too; None for what has not come."""
    made = partial_object(Journey, {"the_price": 3, "stops": [{"city": "P"}]})
    assert (made.price, made.name, made.stops[0].city, made.stops[0].nights) == (3, None, "P", None)
    assert partial_object(None, {"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    "kind",
    [
        list[Stop],
        Sequence[Stop],
        tuple[Stop, ...],
        set[Stop] | None,
        dict[str, Stop],
        Mapping[str, list[Stop]],
    ],
)
def test_each_collection_holds_objects_of_its_class(kind):
    """Lists, and the values of dicts."""
    stop = {"city": "P"}
    given = stop if "dict" in str(kind) else [stop]
    given = {"k": given} if "str" in str(kind) else given
    held = partial_object(create_model("Holder", items=(kind, ...)), {"items": given}).items
    held = held["k"] if isinstance(held, dict) else held
    [made] = held if isinstance(held, list) else [held]
    assert (made.city, made.nights) == ("P", None)


def test_a_tuple_of_several_classes_is_as_the_model_wrote_it():
    """Its items have no class in common."""
    held = partial_object(create_model("Holder", items=(tuple[Stop, Bill], ...)), {"items": [{"city": "P"}]})
    assert held.items == [{"city": "P"}]


@pytest.mark.parametrize("kind", [vars(typing)["List"], list])
def test_a_list_need_not_say_of_what(kind):
    """`typing.List` without a type has an origin, but no arguments."""
    made = partial_object(create_model("Loose", items=kind), {"items": [{"a": 1}]})
    assert made.items == [{"a": 1}]


def test_the_code_of_a_class_waits_for_the_whole_object(sandbox):
    """A computed field or a serializer would fail on what has not come; the last object has them."""
    given = {"paid_on": "2026-11-28", "price": 10, "tip": 2}
    first, rest = f'<tool_call>{{"name": "Bill", "arguments": {json.dumps(given)}}}</tool_call>'.split("2026")
    gate = sandbox.hold()

    @sandbox.model(MODEL)
    def talk(input):
        yield first
        gate.wait()
        yield from f"2026{rest}"

    objects = ChatRockAI(model=MODEL).with_structured_output(Bill).stream("x")
    begun = next(objects)
    assert repr(begun) == "Bill(paid_on='', price=None, tip=None)"
    gate.set()
    *partial, last = [begun, *objects]
    assert len(partial) > 2
    assert all(json.loads(one.model_dump_json()).keys() == given.keys() for one in partial)
    assert last.model_dump(mode="json") == {**given, "total": 12}


def begun_and_ended(framework, sandbox, kind, given, until):
    """The partial object once the arguments have arrived up to a text, and the last one."""
    reply = f'<tool_call>{{"name": "{kind.__name__}", "arguments": {json.dumps(given)}}}</tool_call>'
    at = reply.index(until) + len(until)
    gate = sandbox.hold()

    @sandbox.model(MODEL)
    def talk(input):
        yield reply[:at]
        gate.wait()
        yield reply[at:]

    objects = framework.objects(framework.make(), kind)
    begun = next(objects)
    gate.set()
    *_, ended = objects
    return begun, ended


def test_a_class_that_refers_to_itself_fills_in(framework, sandbox):
    """Its schema's root is a reference."""
    given = {"label": "a", "branches": [{"label": "b", "branches": [{"label": "c", "branches": []}]}]}
    begun, ended = begun_and_ended(framework, sandbox, Branch, given, until='"c"')
    assert begun.branches[0].branches[0].label == "c"
    assert ended == Branch(**given)


@pytest.mark.parametrize("key", ["_fields_set", "kind"])
def test_a_field_may_have_any_name_and_any_class(framework, sandbox, key):
    """Also that of an argument of `model_construct`, and a `RootModel`; each name of a field counts."""
    given = {"cls": "a b", "tags": ["c", "d"], key: "e f"}
    begun, ended = begun_and_ended(framework, sandbox, Label, given, until="e f")
    assert (begun.cls, begun.tags, begun.kind) == ("a b", ["c", "d"], "e f")
    assert ended == Label(**given)
