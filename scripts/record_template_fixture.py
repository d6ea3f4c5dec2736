"""Records what transformers renders of conversations, for tests/text/test_template_parity.py.

    python scripts/record_template_fixture.py [FOLDER OUTPUT]

Needs transformers, in an environment of its own. Reads FOLDER (tests/fixtures/templates): each chat template
(``*.jinja``) and conversations.json. Writes OUTPUT (tests/fixtures/templates.json.gz): {template: {conversation:
[with arguments as objects, with arguments as JSON text]}}, each {"text"}, or {"refused": the template's own words, or
null where it fails}. ``strftime_now`` gives the day that is in NOW.
"""

import gzip
import json
import sys
from datetime import datetime
from pathlib import Path
from unittest import mock

import transformers
from jinja2 import TemplateError
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers.utils import chat_template_utils

FIXTURES = Path(__file__).parent.parent / "tests" / "fixtures"
NOW = datetime(2026, 11, 24, 13, 5)  # noqa: DTZ001 - as templates get it
BOS, EOS = "<s>", "</s>"


def main(folder: Path, output: Path) -> None:
    conversations = json.loads((folder / "conversations.json").read_text("utf-8"))
    model = WordLevel({"?": 0}, "?")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), bos_token=BOS, eos_token=EOS)
    recorded = {}
    with mock.patch.object(chat_template_utils, "datetime") as clock:
        clock.now.return_value = NOW
        for file in sorted(folder.glob("*.jinja")):
            source = file.read_text("utf-8")
            recorded[file.stem] = {c["name"]: both_ways(tokenizer, source, c) for c in conversations}
    report(recorded)
    text = json.dumps({"transformers": transformers.__version__, "rendered": recorded}, ensure_ascii=False)
    output.write_bytes(gzip.compress(text.encode(), mtime=0))


def both_ways(tokenizer, source: str, conversation: dict) -> list[dict]:
    return [rendered(tokenizer, source, conversation, as_text=as_text) for as_text in (False, True)]


def rendered(tokenizer, source: str, conversation: dict, *, as_text: bool) -> dict:
    messages = [told(message, source, as_text=as_text) for message in conversation["messages"]]
    options = {**of_effort(conversation["effort"]), **conversation["options"]}
    try:
        text = tokenizer.apply_chat_template(
            messages,
            tools=conversation["tools"],
            chat_template=source,
            add_generation_prompt=True,
            tokenize=False,
            **options,
        )
    except TemplateError as error:
        own = type(error) is TemplateError  # what raise_exception raises
        return {"refused": str(error) if own else None}
    except Exception:  # whatever a template's expressions raise
        return {"refused": None}
    return {"text": text}


def told(message: dict, source: str, *, as_text: bool) -> dict:
    """A developer's words are the system's to a template that has no developers."""
    message = json.loads(json.dumps(message))
    if message["role"] == "developer" and "developer" not in source:
        message["role"] = "system"
    for call in message.get("tool_calls", []):
        if as_text:
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
    return message


def of_effort(effort: str | None) -> dict:
    if effort is None:
        return {}
    return {"reasoning_effort": effort, "enable_thinking": effort != "none", "thinking": effort != "none"}


def report(recorded: dict) -> None:
    for template, conversations in recorded.items():
        refused = {n: [way.get("refused", "-") for way in ways] for n, ways in conversations.items()}
        refused = {n: ways for n, ways in refused.items() if ways != ["-", "-"]}
        print(template, len(conversations) - len(refused), "rendered;", refused)


if __name__ == "__main__":
    places = [Path(place) for place in sys.argv[1:]] or [FIXTURES / "templates", FIXTURES / "templates.json.gz"]
    main(*places)
