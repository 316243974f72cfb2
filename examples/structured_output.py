"""Structured output: get an object of your class from a model that only writes text."""

from __future__ import annotations

from pydantic import BaseModel, Field

from langchain_rockai import ChatRockAI


class Order(BaseModel):
    """An order in a restaurant."""

    dish: str = Field(description="what is ordered")
    quantity: int = Field(description="how many", ge=1)
    takeaway: bool = Field(description="whether it is taken away")


def main() -> None:
    """Read one order; the answer is validated, and the model is asked once more if it does not fit."""
    llm = ChatRockAI(model="meta/meta-llama-3-70b-instruct", max_tokens=200)

    order = llm.with_structured_output(Order).invoke("An order for 3 'steamed hams', takeaway.")
    print(repr(order))

    careful = llm.with_structured_output(Order, include_raw=True)  # returns errors, raises none
    print(careful.invoke("An order for 1 'porcelain plate'."))


if __name__ == "__main__":
    main()
