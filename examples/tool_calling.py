"""Tools: the model says which function to call with which arguments, and you call it. Any text model can."""

from __future__ import annotations

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.tools import tool

from langchain_rockai import ChatRockAI


@tool
def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"It is sunny in {city}, 21 °C."


def main() -> None:
    """Ask a question, execute the call, and answer from its result."""
    llm = ChatRockAI(model="meta/meta-llama-3-70b-instruct", max_tokens=200)
    with_tools = llm.bind_tools([get_weather])

    messages: list[BaseMessage] = [HumanMessage("How is the weather in Paris?")]
    reply = with_tools.invoke(messages)
    messages.append(reply)
    for call in reply.tool_calls:
        print(f"call:   {call['name']}({call['args']})")
        result = get_weather.invoke(call)
        print(f"result: {result.text}")
        messages.append(result)
    print(f"answer: {with_tools.invoke(messages).text}")

    forced = llm.bind_tools([get_weather], tool_choice="any")  # asks once more if the reply has no call
    print(f"forced: {forced.invoke('How is it in Turin today?').tool_calls[0]['args']}")


if __name__ == "__main__":
    main()
