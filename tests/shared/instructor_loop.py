"""One tool loop of instructor with a model: ``instructor_loop.py BASE MODEL``, in an environment that has it.

The first answer is rejected whatever it is, so the model is told why, as the result of its call, and calls again. What
came of it goes to standard output as JSON.
"""

import json
import sys

import instructor
import openai
from pydantic import BaseModel, Field, model_validator

rejected: list[object] = []
turns: list[list[str]] = []
choices: list[object] = []


class Person(BaseModel):
    """Somebody."""

    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)

    @model_validator(mode="before")
    @classmethod
    def _not_the_first(cls, value: object) -> object:
        if not rejected:
            rejected.append(value)
            raise ValueError("somebody else, please")
        return value


def main(base: str, model: str) -> None:
    api = openai.OpenAI(base_url=base, api_key="any", max_retries=0, timeout=60)
    client = instructor.from_openai(api, mode=instructor.Mode.TOOLS)
    client.on("completion:kwargs", note)
    messages = [{"role": "user", "content": "Invent a person."}]
    person = client.chat.completions.create(
        model=model, messages=messages, response_model=Person, max_retries=2, temperature=0, max_tokens=200
    )
    sys.stdout.write(json.dumps({"person": person.model_dump(), "turns": turns, "choices": choices}))


def note(*_: object, messages: list[dict], tool_choice: object, **_others: object) -> None:
    """A request before it is sent."""
    turns.append([message["role"] for message in messages])
    choices.append(tool_choice)


main(*sys.argv[1:])
