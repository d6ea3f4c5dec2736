"""Fields of the chat format by the names that they had in a classic body, for errors and headers. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lowcloud.core.errors import BadRequest
from lowcloud.core.messages import Message, Messages, Prompt
from lowcloud.core.requests import Generate
from lowcloud.core.tools import Tool


@dataclass(frozen=True, slots=True)
class Names:
    """``names`` has the caller's paths by those of the chat format, where they differ."""

    names: Mapping[str, str]

    def of(self, path: str) -> str:
        """The caller's name of a path, by the longest beginning of it that has one."""
        for known in sorted(self.names, key=len, reverse=True):
            if path == known or path.startswith((f"{known}.", f"{known}[")):
                return self.names[known] + path[len(known) :]
        return path

    def of_error(self, error: BadRequest) -> BadRequest:
        """The same error, of the caller's field."""
        if error.param is None or (param := self.of(error.param)) == error.param:
            return error
        return type(error)(str(error).replace(error.param, param), param=param)

    def of_generate(self, generate: Generate) -> Generate:
        """The same request; what later errors name of it has the caller's names."""
        plan = replace(generate.tools, tools=tuple(map(self._tool, generate.tools.tools)))
        return replace(generate, prompt=self._prompt(generate.prompt), tools=plan)

    def _prompt(self, prompt: Prompt) -> Prompt:
        if not isinstance(prompt, Messages):
            return prompt
        messages = tuple(map(self._message, prompt.messages))
        return replace(prompt, messages=messages, tools=tuple(map(self._tool, prompt.tools)))

    def _message(self, message: Message) -> Message:
        return replace(message, images=tuple(replace(image, param=self.of(image.param)) for image in message.images))

    def _tool(self, tool: Tool) -> Tool:
        return replace(tool, param=self.of(tool.param))
