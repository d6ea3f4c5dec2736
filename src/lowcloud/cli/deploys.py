"""Which commands change somebody's Cloudflare account: read from their words, through whatever starts them. Pure."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

DEPLOYS = (
    ("deploy",),
    ("publish",),
    ("delete",),
    ("rollback",),
    ("versions", "upload"),
    ("versions", "deploy"),
    ("versions", "secret"),
    ("triggers", "deploy"),
    ("pages", "deploy"),
    ("pages", "publish"),
    ("pages", "secret"),
    ("secret", "put"),
    ("secret", "bulk"),
    ("secret", "delete"),
)
MANAGERS = ("npm", "pnpm", "yarn", "bun")
RUNS = ("run", "run-script")
LIFECYCLE = ("test", "t", "start", "stop", "restart")
# Options that take the word after them.
WITH_VALUE = frozenset(
    "-c --config --cwd -e --env --env-file --prefix -C --dir -w --workspace -F --filter --loglevel".split()  # noqa: SIM905
)
_OPERATOR = re.compile(r"[;&|()\n]+")


@dataclass(frozen=True, slots=True)
class Verdict:
    """``refused`` names what would change the account, ``unseen`` the script that isn't known; empty: nothing."""

    refused: str = ""
    unseen: str = ""


def judge(command: Sequence[str], scripts: Mapping[str, str]) -> Verdict:
    """What ``command`` would do, with the package's ``scripts`` by name, which are followed.

    Every word ``wrangler`` counts, wherever it stands, so that no runner, option or shell hides it.
    """
    unseen = ""
    for words in _simple_commands(command):
        if found := _deploy(words):
            return Verdict(refused=found)
        verdict = _judge_script(words, scripts)
        if verdict.refused:
            return verdict
        unseen = unseen or verdict.unseen
    return Verdict(unseen=unseen)


def _judge_script(words: Sequence[str], scripts: Mapping[str, str]) -> Verdict:
    name, is_surely_one = _script(words)
    hooks = [each for each in (f"pre{name}", name, f"post{name}") if each in scripts]
    if name not in hooks:
        return Verdict(unseen=name if is_surely_one else "")
    rest = {key: text for key, text in scripts.items() if key not in hooks}  # one that runs itself ends here
    text = "\n".join(scripts[each] for each in hooks)
    return judge([text, *_after(words, name)], rest)


def _simple_commands(command: Sequence[str]) -> Iterator[list[str]]:
    """The commands within ``command``, whose words may be lines of a shell."""
    words: list[str] = []
    for word in command:
        for part in _shell_words(word) if re.search(r"\s", word) else [word]:
            if _OPERATOR.fullmatch(part):
                yield words
                words = []
            else:
                words.append(part)
    yield words


def _shell_words(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()\n")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:  # an open quote
        words = line.split()
    return [part for word in words for part in (_shell_words(word) if " " in word else [word])]


def _deploy(words: Sequence[str]) -> str:
    """``wrangler`` and its subcommand, where that changes an account."""
    told = [tuple(_positionals(words[at + 1 :])) for at, word in enumerate(words) if _is_wrangler(word)]
    found = (deploy for deploy in DEPLOYS for said in told if said[: len(deploy)] == deploy)
    return " ".join(("wrangler", *deploy)) if (deploy := next(found, ())) else ""


def _is_wrangler(word: str) -> bool:
    path = PurePath(word)
    name = path.name.partition("@")[0]
    return name in ("wrangler", "wrangler2", "wrangler.js") or path.parts[-2:] == ("wrangler-dist", "cli.js")


def _positionals(words: Sequence[str]) -> Iterator[str]:
    rest = iter(words)
    for word in rest:
        if word in WITH_VALUE:
            next(rest, None)
        elif not word.startswith("-"):
            yield word


def _script(words: Sequence[str]) -> tuple[str, bool]:
    """The script of a package that ``words`` run, if they do; and whether the word could be nothing else."""
    for at, word in enumerate(words):
        if PurePath(word).name in MANAGERS:
            said = [*_positionals(words[at + 1 :]), ""]
            if said[0] in RUNS:
                return said[1], True
            is_lifecycle = said[0] in LIFECYCLE and word != "bun"
            return ("test" if said[0] == "t" else said[0]), is_lifecycle
    return "", False


def _after(words: Sequence[str], name: str) -> Sequence[str]:
    """The arguments that a script gets."""
    return words[words.index(name) + 1 :] if name in words else ()
