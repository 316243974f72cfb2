"""Several turns: you keep the messages, and the package applies the model's own chat template."""

from __future__ import annotations

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from langchain_rockai import ChatRockAI

QUESTIONS = ("Hello, my name is Ada, and I live in Turin.", "What is my name?", "Where do I live?")


def main() -> None:
    """Ask three questions in one conversation, then show the prompt that was sent for the last one."""
    llm = ChatRockAI(model="mistralai/mistral-7b-instruct-v0.1", max_tokens=200)
    messages: list[BaseMessage] = [SystemMessage("Be brief.")]
    for question in QUESTIONS:
        messages.append(HumanMessage(question))
        answer = llm.invoke(messages)
        messages.append(answer)
        print(f"user:  {question}\nmodel: {answer.text}\n")

    body = llm.preview(messages[:-1])  # the exact body of the last call; nothing is sent
    print("The last prompt, in this model's template:")
    print(body["input"]["prompt"])


if __name__ == "__main__":
    main()
