"""A custom tool's Lark grammar: whatever a model may write is read as a text of it, in every dialect."""

import json
import random
import time

import pytest
from dialect_fixtures import read_text
from grammars import takes, token_ids, written

from lowcloud.core.errors import BadRequest
from lowcloud.core.output import ANY_TEXT, Lark
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.text.dialects import registry
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.grammar import LarkWriter, Wanted
from lowcloud.text.lark.tree import BadGrammar
from lowcloud.text.lark.within_json import within_json

SUM = """
start: expr
expr: term (SP ADD SP term)* -> add
    | term
?term: factor (SP MUL SP factor)*  // as OpenAI's guide has it
factor: INT
SP: " "
ADD: "+"
MUL: "*"
%import common.INT
"""
PATCH = """start: begin_patch hunk+ end_patch
begin_patch: "*** Begin Patch" LF
end_patch: "*** End Patch" LF?
hunk: add_hunk | delete_hunk
add_hunk: "*** Add File: " filename LF add_line+
delete_hunk: "*** Delete File: " filename LF
filename: /(.+)/
add_line: "+" /(.*)/ LF -> line
%import common.LF
"""
QUOTED = r"""%llguidance {}
start: (STRING | other){1,4} LF?
other: /[^"]{1,3};/ | "\\"~2..3 | "</arg_value>" | "K"i /k\/"?/i | "a".."f" | /[\w\s]{2}/ | /.{1,2}\\n/s
STRING: /"([^"\\]|\\.){0,2}"/
%import common (CR, LF)
%ignore /#[^\n]{0,2}\n/
"""
# llguidance takes what is ignored only where a word may still come; Lark at the text's end, too.
QUOTED_MEANT = QUOTED.replace("LF?", 'LF? "never"?')
# The same as PATCH, for texts that come to an end when they are drawn at random.
SHORT = (
    PATCH.replace("hunk+", "hunk{1,2}")
    .replace("add_line+", "add_line~1..2")
    .replace(".+", ".{1,4}")
    .replace(".*", ".{0,4}")
)
PATCH_TEXT = '*** Begin Patch\n*** Add File: a/"b".py\n+\tprint("</arg_value>\\n")\n+\n*** End Patch\n'


def bound(dialect, definition, mode="required", controls=()):
    tool = Tool("f", input=Lark(definition, "tools[0].custom.format.grammar.definition"))
    plan = ToolPlan((tool,), mode, at_most_one=True)
    return tool, dialect.grammar(LarkWriter(token_ids(controls)), Wanted(ANY_TEXT, plan))


@pytest.mark.parametrize("dialect", registry.DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("are_tokens", [False, True], ids=["marks are text", "marks are tokens"])
@pytest.mark.parametrize(
    ("definition", "meant"),
    [(SUM, SUM), (SHORT, SHORT), (QUOTED, QUOTED_MEANT)],
    ids=["sum", "patch", "quoted"],
)
def test_what_may_be_written_is_read_as_a_text_of_the_grammar(dialect, are_tokens, definition, meant):
    controls = dialect.marks if are_tokens else ()
    tool, grammar = bound(dialect, definition, controls=controls)
    for seed in range(4):
        text = written(grammar, random.Random(seed), controls)  # noqa: S311 - which of the texts, not a secret
        (call,) = read_text(dialect, text, Outlook((tool,))).calls
        assert takes(meant, json.loads(call.arguments)["input"]), text


def test_text_and_calls_are_free_to_begin_where_calls_are_not_required():
    dialect = registry.named("hermes")
    _, grammar = bound(dialect, PATCH, "auto")
    call = '<tool_call>\n{"name": "f", "arguments": {"input": %s}}\n</tool_call>'
    assert takes(grammar, "No.")
    assert takes(grammar, f"Well: {call % json.dumps(PATCH_TEXT)}")
    assert not takes(grammar, f"Well: {call % json.dumps(PATCH_TEXT.replace('+', '-'))}")


NAMES = (
    *("DIGIT", "HEXDIGIT", "INT", "SIGNED_INT", "DECIMAL", "FLOAT", "SIGNED_FLOAT", "NUMBER", "SIGNED_NUMBER"),
    *("ESCAPED_STRING", "LCASE_LETTER", "UCASE_LETTER", "LETTER", "WORD", "CNAME", "WS_INLINE", "WS", "CR", "LF"),
    *("NEWLINE", "SH_COMMENT", "CPP_COMMENT", "C_COMMENT", "SQL_COMMENT"),
)
TEXTS = (
    *(
        "",
        "0",
        "a",
        "Z",
        "f0",
        "+1",
        "-1.5e3",
        ".5",
        "1.",
        '"a\\"b"',
        '"\n"',
        '"',
        "_a1",
        "\t",
        " \t",
        "\f\r\n",
        "\r",
        "\n",
    ),
    *(
        "\r\n\n",
        "# a",
        "#",
        "# a\n",
        "// a",
        "/* a * b */",
        "/* a\n*/",
        "/**/",
        "/* */ */",
        "-- a",
        "--",
        "/",
        "\\",
        "é",
    ),
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("escapes_slash", [False, True])
def test_what_can_be_imported_means_what_it_means_to_llguidance(name, escapes_slash):
    theirs = f"start: {name}\n%import common.{name}"
    ours = within_json(f"start: MINE\n%import common.{name} -> MINE", escapes_slash=escapes_slash)
    for text in TEXTS:
        escaped = json.dumps(text, ensure_ascii=False)
        escaped = escaped.replace("/", "\\/") if escapes_slash else escaped
        assert takes(ours, escaped) == takes(theirs, text), text


# An expression of a whole text, and texts to compare it on.
EXPRESSIONS = [
    (r"/[^a-c\n]*/", ["", "d\\", 'x"y', "\n", "a", "é\t"]),
    (r"/\w+\s\d/", ["é ٣", "a\n1", "_\u00a05", "a-1", "ⓐ\u30001"]),
    (r"/\W\D\S/", ['"\\"', "a1 ", "\n\n/", "-é\u3000"]),
    (r"/.*/", ["\r\u2028", "\n", '"']),
    (r"/.*/s", ["\n\n", ""]),
    (r"/[\]\/\\-]+/", ["]/\\-", "a"]),
    (r"/(?:a|b\x41|\u00e9){2,3}/i", ["AbaÉ", "éé", "ab"]),
    (r"/k/i", ["K", "\u212a", "j"]),
    (r"/x(|\n)/", ["x", "x\n", "xn"]),
    ('"a\\"\\n\\u00e9"', ['a"\né', "a"]),
    ('"a/b\\n"i', ["A/B\n", "a/b", "A/B\\N", "a/bN"]),
    ('" ".."~"', ['"', "\\", " ", "é", "/"]),
]


@pytest.mark.parametrize(("terminal", "texts"), EXPRESSIONS, ids=[terminal for terminal, _ in EXPRESSIONS])
@pytest.mark.parametrize("escapes_slash", [False, True])
def test_a_terminal_matches_what_it_matches_to_llguidance(terminal, texts, escapes_slash):
    ours = within_json(f"start: T\nT: {terminal}", escapes_slash=escapes_slash)
    for text in texts:
        escaped = json.dumps(text, ensure_ascii=False)
        escaped = escaped.replace("/", "\\/") if escapes_slash else escaped
        assert takes(ours, escaped) == takes(f"start: T\nT: {terminal}", text), text


@pytest.mark.parametrize(
    ("definition", "why"),
    [
        ('root: "a"', "nothing defines start"),
        ("start: a B", "nothing defines a"),
        ('start: "a"\nstart: "b"', "start is defined twice"),
        ('start: A\nA: b\nb: "a"', "b, a rule, is in a terminal"),
        ("start: start", "it derives no text that ends"),
        ("// nothing", "nothing defines start"),
        ('start: "a" ~b\nb: "c"', "only a count can follow a ~"),
        ('start: "a" )', "')' can't be read there"),
        ('start: ("a"', "a '(' isn't closed"),
        ('start: * "a"', "'*' can't be read there"),
        ('start: "a" ->', "an alias has no name"),
        ('start: "a"{,}', "'{,}' can't be read there"),
        ('start: "a"~3..2', "counts must be to 1000, the lower first"),
        ('start: "a"{1001}', "counts must be to 1000, the lower first"),
        ("%import common.NONE\nstart: NONE", "common.NONE is nothing that can be imported"),
        ('start: "a', "'\"a' can't be read there"),
        ("start: <|end|>", "'<|end|>' can't be read there"),
        ("start: @other", "'@other' can't be read there"),
        ('start: "a" }\nTEXT: "b" { "c"', "'}' can't be read there"),
        ('start: %json {"type": "object"}', '\'{"type": "object"}\' can\'t be read there'),
        ('start: "a" | %lark {}', "'%lark' can't be read there"),
        ('start: A\nA: ~"a"', "'~' can't be read there"),
        ('start: A\nA.2: "a"', "'A . 2 : \"a\"' can't be enforced"),
        ('start[max_tokens=3]: "a"', "can't be read there"),
        ('start[stop]: "a"', "'start [ stop ] : \"a\"' can't be enforced"),
        ('%declare A\nstart: "a"', "'%declare A' can't be enforced"),
        ("%import python.NAME\nstart: NAME", "'%import python . NAME' can't be enforced"),
        ("%import common LF\nstart: LF", "'%import common LF' can't be enforced"),
        ("start: /a/x", "the flags x of expressions can't be enforced"),
        ("start: /^a$/", "/^a$/: anchors can't be enforced: an expression is for the whole of a terminal"),
        ("start: /a(?=b)/", "/a(?=b)/: groups such as (?=b can't be enforced: look-around, flags, names"),
        ("start: /[a-z--[aeiou]]/", "/[a-z--[aeiou]]/: a range's ends are the wrong way round"),
        ("start: /[a-z&&b]/", "/[a-z&&b]/: sets of characters can't be combined"),
        ("start: /\\p{L}/", "/\\p{L}/: \\p can't be enforced"),
        ('start: "\\u0007"', "it needs control characters, which can't be written"),
        ("start: /\\x07/", "/\\x07/: it needs control characters, which can't be written"),
        ('start: "\\ud83d"', "half a surrogate pair is no character"),
        ('start: "ab".."c"', '"ab".."c" is no range of characters'),
        ('start: "a"..B\nB: "b"', '"a"..B is no range of characters'),
        ('start: "b".."a"', "a range's ends are the wrong way round"),
        ("start: /" + "(" * 40 + "a" + ")" * 40 + "/", "its groups nest more than 30 levels"),
        ("start: /((a{1000}){1000}){1000}/", "its repetitions make more than 10000 copies"),
        ("start: /" + "a" * 2001 + "/", "it is longer than 2000 characters"),
        ("//" * 2**17 + "\nstart: A", "it has more than 262144 characters"),
    ],
)
def test_what_is_no_grammar_or_cant_be_enforced_is_refused_with_a_reason(definition, why):
    with pytest.raises(BadGrammar) as caught:
        within_json(definition)
    assert why in str(caught.value)


OPEN = '("a" '


@pytest.mark.parametrize(
    ("definition", "why"),
    [
        ("start: " + "(" * 61 + '"a"' + ")" * 61, "its groups nest more than 60 levels"),
        (
            "\n".join(["start: T0", *(f"T{n}: T{n + 1} T{n + 1}" for n in range(40)), 'T40: "a"']),
            "more than 20000 characters",
        ),
        ("\n".join(["start: T0", *(f"T{n}: T{n + 1}" for n in range(80)), 'T80: "a"']), "is within too many others"),
        ("start: T\nT: /" + "a?" * 900 + "/ " + "/a?/ " * 2000, "expressions of more than 262144 characters"),
        (
            "\n".join(["start: a0", *(f"a{n}: a{n + 1}{{1000}}" for n in range(20)), 'a20: "a"']),
            "more than 10000 rules",
        ),
        (
            "\n".join(["start: T0", *(f"T{n}: {OPEN * 50}T{n + 1}{')' * 50}" for n in range(58)), 'T58: "a"']),
            "nest too deep",
        ),
    ],
)
def test_what_would_take_long_is_refused_soon(definition, why):
    before = time.process_time()
    with pytest.raises(BadGrammar) as caught:
        within_json(definition)
    assert why in str(caught.value)
    assert time.process_time() - before < 2


@pytest.mark.parametrize(
    ("definition", "texts", "others"),
    [
        ('start: "(" start? ")" | LF\nLF: /\\n/', ["()", "(())", "(\n)"], ["(", "\n\n"]),
        ('start: a*\na: /[^"]*/ QUOTE\nQUOTE: "\\""', ["", '"', '\n"\\"', '""'], ["a", '"b']),
        ('start: /[^\\n]*/ NL? "x"{0,2}\nNL: "\\n" | "\\r\\n"', ["", "a", "a\nx", "\t\r\nxx"], ["\n\n", "a\nxxx"]),
        ('start: (A | B?) A\nA: /a?/ "b"?\nB: "\\t"*', ["", "ab", "\tb", "bb", "\t\ta"], ["\t\n", "ba\t"]),
        ('start: A | B\nA: "a" ["\\n"] "b"{,1}\nB: /()/ /x{0}/ "c"+', ["a", "a\nb", "c", "cc"], ["", "abb", "b"]),
        ("start: /(\\n?){3}a/", ["a", "\n\n\na"], ["\n\n\n\na", "\n"]),
    ],
)  # fmt: skip
def test_words_end_where_they_end_in_the_text_itself(definition, texts, others):
    ours = within_json(definition)
    for text in (*texts, *others):
        assert takes(ours, json.dumps(text)) == (text in texts), text


@pytest.mark.parametrize("dialect", registry.DIALECTS, ids=lambda dialect: dialect.name)
def test_a_bad_definition_is_named_by_its_path(dialect):
    with pytest.raises(BadRequest, match="nothing defines b") as caught:
        bound(dialect, "start: b")
    assert caught.value.param == "tools[0].custom.format.grammar.definition"
