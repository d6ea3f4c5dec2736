"""Grammars in the loop: masks hold, ends are ends, nothing waits for a compiler, and a hostile one costs little."""

import json
import threading
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from fake_model import Driver, FakeModel, Gate, Told, submit
from hypothesis import given, settings
from hypothesis import strategies as st

from lowcloud.engines.local.frames import Accepted, Refused
from lowcloud.engines.local.grammar import CACHED_GRAMMARS, MAX_GRAMMAR_BYTES, Grammars, vocabulary_of
from lowcloud.engines.local.loop import LoopSettings

END = 257  # of the byte tokenizer
N_VOCAB = 300  # more than its 258 ids, as models have it
SMALL = LoopSettings(max_seqs=8, prefill_tokens=64)


def json_grammar(schema):
    options = {"whitespace_flexible": False}
    return f"start: %json {json.dumps({**schema, 'x-guidance': options})}"


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
PERSON_GRAMMAR = json_grammar(PERSON)
ABC = "start: /[abc]+/"
GRAMMARS = [PERSON_GRAMMAR, ABC, 'start: "yes" | "no" | "yesterday"', "start: /(.|\\n)*/", "start: /x{40}/"]


@pytest.fixture(scope="module")
def vocabulary(byte_tokenizer):
    return partial(vocabulary_of, byte_tokenizer, [END], N_VOCAB)


@pytest.fixture(scope="module")
def alone(vocabulary):
    def run(request):
        driver = Driver(FakeModel(n_vocab=N_VOCAB), LoopSettings(prefix_cache=False), vocabulary=vocabulary)
        driver.loop.submit(request)
        return driver.finish()[request.seq]

    return run


@pytest.fixture
def driver(vocabulary):
    return Driver(FakeModel(n_vocab=N_VOCAB), SMALL, vocabulary=vocabulary)


def text_of(told):
    return bytes(token for token in told.tokens if token < 256).decode()


@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.0])
def test_a_schemas_answer_is_whole_json_of_it(alone, temperature):
    for seed in range(10):
        told = alone(submit(0, [seed], grammar=PERSON_GRAMMAR, max_tokens=300, temperature=temperature, seed=seed))
        person = json.loads(text_of(told))
        assert told.finish == "stop"
        assert list(person) == ["name", "age", "tags"] and len(person["name"]) <= 6 and 0 <= person["age"] <= 120


def test_penalties_and_bias_bring_no_token_back(alone):
    """Here 'z' is the model's favourite by far, and every letter of the grammar is penalised."""
    told = alone(
        submit(0, [1], grammar=ABC, max_tokens=30, logit_bias=[[ord("z"), 100.0], [END, -100.0]],
               frequency_penalty=2.0, repetition_penalty=2.0, temperature=1.5, top_k=3, min_p=0.1)
    )  # fmt: skip
    assert set(text_of(told)) <= set("abc") and (len(told.tokens), told.finish) == (30, "length")


def test_logprobs_are_of_the_models_own_distribution(alone):
    free = alone(submit(0, [4] * 5, max_tokens=1, n_logprobs=3))
    bound = alone(submit(0, [4] * 5, max_tokens=1, n_logprobs=3, grammar=ABC))
    assert bound.logprobs[0][1] == free.logprobs[0][1]
    assert bound.logprobs[0][0] < free.logprobs[0][0]


def test_an_answer_after_which_nothing_can_follow_ends_with_its_last_token(alone):
    told = alone(submit(0, [1], grammar='start: "yes!"', stop_ids=[END]))
    assert told == Told([*b"yes!"], [], "stop")


def test_an_answer_that_could_go_on_ends_with_an_end_token(alone):
    told = alone(submit(0, [1], grammar=ABC, stop_ids=[END], logit_bias=[[END, 50.0]]))
    assert told.finish == "stop" and told.tokens[-1] == END and len(told.tokens) == 2


def test_past_end_tokens_too_the_grammar_says_when_it_ends(alone):
    """``ignore_eos`` sends no stop ids."""
    told = alone(submit(0, [1], grammar=ABC, stop_ids=[], logit_bias=[[END, 50.0]]))
    assert told.finish == "stop" and told.tokens[-1] == END


def test_an_end_token_that_a_grammar_wants_inside_does_not_end_it(alone):
    told = alone(submit(0, [1], grammar=f'start: "a" <[{END}]> "b"', stop_ids=[END]))
    assert told == Told([ord("a"), END, ord("b")], [], "stop")


def test_a_prompts_company_changes_nothing_that_a_grammar_allows(driver, alone):
    mix = [submit(seq, [seq] * 9, grammar=grammar, max_tokens=40, temperature=1.0, n_logprobs=2, stop_ids=[END])
           for seq, grammar in enumerate([*GRAMMARS, "", ""])]  # fmt: skip
    for request in mix:
        driver.loop.submit(request)
    assert driver.finish() == {request.seq: alone(request) for request in mix}


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_mixed_crowd_in_a_small_pool_is_what_it_is_alone(vocabulary, alone, data):
    """Swapped out, started again, staggered: each keeps its place in its grammar."""
    mix = [
        submit(seq, [seq] * data.draw(st.integers(1, 60)), max_tokens=data.draw(st.integers(1, 60)), stop_ids=[END],
               grammar=data.draw(st.sampled_from(["", *GRAMMARS])), temperature=data.draw(st.sampled_from([0.0, 1.0])),
               n_logprobs=data.draw(st.sampled_from([-1, 2])), seed=data.draw(st.integers(0, 99)))
        for seq in range(data.draw(st.integers(2, 6)))
    ]  # fmt: skip
    model = FakeModel(data.draw(st.integers(5, 12)), n_vocab=N_VOCAB)
    swap = data.draw(st.sampled_from([0, 3, 100])) * model.block_bytes
    driver = Driver(model, LoopSettings(4, 64, swap_bytes=swap), vocabulary=vocabulary)
    for request in mix:
        driver.loop.submit(request)
        if driver.loop.is_busy:
            driver.step()
    assert driver.finish() == {request.seq: alone(request) for request in mix}
    assert driver.stats[:3] == [0, 0, 0]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(GRAMMARS), st.integers(1, 59), st.integers(0, 50))
def test_a_resumed_sequence_goes_on_bit_for_bit(alone, grammar, n_sent, seed):
    request = submit(0, [3] * 5, grammar=grammar, max_tokens=60, temperature=1.0, seed=seed, n_logprobs=1)
    whole = alone(request)
    sent = min(n_sent, len(whole.tokens) - 1)
    request.forced.extend(whole.tokens[:sent])
    assert alone(request) == Told(whole.tokens[sent:], whole.logprobs[sent:], whole.finish)


@pytest.mark.parametrize("grammar", ["start: think <[256]> ABC\nthink[max_tokens=5]: /(.|\\n)*/\nABC: /[abc]+/"])
def test_a_bound_in_tokens_holds_and_survives_a_resumption(alone, grammar):
    request = submit(0, [3] * 5, grammar=grammar, max_tokens=30, temperature=1.0, logit_bias=[[256, -100], [END, -100]])
    whole = alone(request)
    assert whole.tokens[5] == 256 and set(whole.tokens[6:]) <= set(b"abc") and len(whole.tokens) == 30
    for sent in range(1, 10):
        resumed = replace(request, forced=whole.tokens[:sent])
        assert alone(resumed).tokens == whole.tokens[sent:]


def test_forced_tokens_outside_the_grammar_are_refused(driver):
    driver.loop.submit(submit(0, [1], grammar=ABC, forced=[ord("a"), ord("z")]))
    driver.settle()
    (refused,) = driver.news
    assert isinstance(refused, Refused) and refused.code == "failed"


@pytest.mark.parametrize(
    ("grammar", "says"),
    [
        ("start: x", "unknown name"),
        ("no grammar", "Expected token"),
        ("start: /(?=a)b/", "look-ahead"),
        ("start: <[999]>", "too large"),
        ('start: start "a"', "allows no text"),
        ("start: " + "(" * 3000 + '"a"' + ")" * 3000, "deeply nested"),
        ("start: \ud800", "can't be compiled"),
        (json_grammar({"enum": [f"v{number}" for number in range(100_000)]}), "bytes"),
        ("start: " + " | ".join(f'"v{number}"' for number in range(3_000)), "max is 2000"),
        ('start: "a" x\nx: ' + " | ".join(f'"v{number}"' for number in range(3_000)), "max is 2000"),
        (json_grammar({"$ref": "http://127.0.0.1:9/schema"}), "http://127.0.0.1:9/schema"),
    ],
)
def test_a_bad_grammar_is_refused_with_its_reason_and_the_others_go_on(driver, grammar, says):
    driver.loop.submit(submit(0, [1], grammar=grammar))
    driver.loop.submit(submit(1, [1]))
    driver.finish()
    driver.settle()
    refused = next(news for news in driver.news if isinstance(news, Refused))
    assert (refused.seq, refused.code) == (0, "bad_grammar") and says in refused.message
    assert len(refused.message) <= 300 and not driver.loop.is_busy and len(driver.told[1].tokens) == 8


def test_a_dead_end_on_the_way_is_the_grammars_fault_and_says_nothing_unbound(driver):
    driver.loop.submit(submit(0, [1], grammar='start: "a" dead\ndead: dead "b"', stop_ids=[END]))
    driver.finish()
    assert [type(news) for news in driver.news] == [Accepted, Refused]
    assert driver.news[-1].code == "bad_grammar"
    assert driver.told[0] == Told([ord("a")], [], None)
    assert driver.stats[:3] == [0, 0, 0]


HOSTILE = [
    'start: start start | "a" | "b"',
    'start: s\ns: s s s s | "a" | "b" s | "c"',
    "start: /(a{1000}){1000}/",
    "start: /((a|aa)*){50}/",
    "start: /(.*a.{30}|.*b.{40}|.*c.{20}e)/",
    'start: "a"{1000000}',
    'start: x{1000}\nx: y{1000}\ny: "a"',
]


@pytest.mark.parametrize("grammar", HOSTILE)
def test_a_hostile_grammar_costs_its_neighbours_little(driver, alone, grammar):
    """Compiled elsewhere; in the loop it has a second of a processor, and ends past that."""
    neighbour = submit(1, [1], max_tokens=200)
    driver.loop.submit(submit(0, [1], grammar=grammar, max_tokens=200, temperature=1.0, logit_bias=[[END, -100.0]]))
    driver.loop.submit(neighbour)
    begin = time.thread_time()
    told = driver.finish()
    spent = time.thread_time() - begin
    assert told[1] == alone(neighbour)
    assert spent < 4, spent


def test_a_grammar_that_was_too_slow_is_refused_at_once_the_next_time(driver):
    for seq in range(2):
        driver.loop.submit(submit(seq, [1], grammar=HOSTILE[0], max_tokens=900, logit_bias=[[END, -100.0]]))
        driver.finish()
        driver.settle()
    codes = [(news.seq, news.code) for news in driver.news if isinstance(news, Refused)]
    assert codes == [(0, "bad_grammar"), (1, "bad_grammar")]
    assert [type(news) for news in driver.news] == [Accepted, Refused, Refused]


@pytest.fixture
def gate(vocabulary):
    gate = Gate(vocabulary)
    yield gate
    gate.opened.set()


def test_others_go_on_while_a_grammar_is_compiled(gate, alone):
    driver = Driver(FakeModel(n_vocab=N_VOCAB), SMALL, vocabulary=gate)
    driver.loop.submit(submit(0, [1], grammar=ABC))
    assert gate.begun.wait(60) and not driver.loop.is_busy and driver.loop.is_compiling
    driver.loop.submit(submit(1, [2]))
    while driver.loop.is_busy:
        driver.step()
    assert driver.told == {1: alone(submit(1, [2]))} and driver.loop.is_compiling
    gate.opened.set()
    assert driver.finish()[0] == alone(submit(0, [1], grammar=ABC))


def test_a_sequence_may_be_cancelled_while_its_grammar_is_compiled(gate):
    driver = Driver(FakeModel(n_vocab=N_VOCAB), SMALL, vocabulary=gate)
    for seq, grammar in enumerate([ABC, "start: /q+/", "start: /q+r/", 'start: "kept"']):
        driver.loop.submit(submit(seq, [1], grammar=grammar))
    assert gate.begun.wait(60)
    for seq in range(3):
        driver.loop.cancel(seq)
    gate.opened.set()
    told = driver.finish()
    assert list(told) == [3] and not driver.loop.is_compiling
    assert driver.news == [Accepted(3, 0)]


def test_a_grammar_that_nobody_waits_for_any_more_is_not_compiled():
    """Where the vocabulary can't be read, each compilation tries to; two may have begun before the first was let."""
    gate = Gate(vocabulary_of_none)
    driver = Driver(FakeModel(n_vocab=N_VOCAB), SMALL, vocabulary=gate)
    for seq in range(6):
        driver.loop.submit(submit(seq, [1], grammar=f'start: "{seq}"'))
    assert gate.begun.wait(60)
    for seq in range(5):
        driver.loop.cancel(seq)
    gate.opened.set()
    driver.settle()
    assert [news.seq for news in driver.news] == [5]
    assert gate.loads <= 3


def vocabulary_of_none():
    raise OSError("gone")


def test_a_grammar_asked_for_again_after_its_cancel_is_compiled(gate):
    driver = Driver(FakeModel(n_vocab=N_VOCAB), SMALL, vocabulary=gate)
    driver.loop.submit(submit(0, [1], grammar=ABC))
    driver.loop.cancel(0)
    driver.loop.submit(submit(1, [1], grammar=ABC))
    gate.opened.set()
    assert list(driver.finish()) == [1]


def test_a_sequence_that_waits_for_its_grammar_counts_as_live(gate):
    driver = Driver(FakeModel(n_vocab=N_VOCAB), LoopSettings(max_live=1), vocabulary=gate)
    for seq in range(2):
        driver.loop.submit(submit(seq, [1], grammar=ABC))
    assert [(news.seq, news.code) for news in driver.news] == [(1, "failed")]
    driver.loop.submit(submit(0, [1]))
    assert driver.news[-1].seq == 0


def test_a_thousand_requests_compile_their_grammar_once(gate):
    driver = Driver(FakeModel(n_vocab=N_VOCAB), SMALL, vocabulary=gate)
    for seq in range(500):
        driver.loop.submit(submit(seq, [1], grammar=PERSON_GRAMMAR, max_tokens=1))
    gate.opened.set()
    driver.finish()
    for seq in range(500, 1000):
        driver.loop.submit(submit(seq, [1], grammar=PERSON_GRAMMAR, max_tokens=1))
        driver.finish()
    assert (len(driver.compilations), gate.loads, len(driver.told)) == (1, 1, 1000)


def test_the_grammars_kept_are_bounded_and_the_longest_unused_goes_first(vocabulary):
    compiled = threading.Event()
    compilations: list[int] = []
    grammars = Grammars(vocabulary, lambda: (compilations.append(1), compiled.set()))

    def n_compiled_after(*numbers, at_least):
        for number in numbers:
            grammars.ask(number, f'start: "{number}"', [])
            while not grammars.answers():
                assert compiled.wait(60)
                compiled.clear()
        while len(compilations) < at_least:  # the answer is there a moment before the waking
            assert compiled.wait(60)
            compiled.clear()
        return len(compilations)

    assert n_compiled_after(*range(CACHED_GRAMMARS), at_least=CACHED_GRAMMARS) == CACHED_GRAMMARS
    assert n_compiled_after(0, CACHED_GRAMMARS, at_least=CACHED_GRAMMARS + 1) == CACHED_GRAMMARS + 1
    assert n_compiled_after(0, at_least=0) == CACHED_GRAMMARS + 1
    assert n_compiled_after(1, at_least=CACHED_GRAMMARS + 2) == CACHED_GRAMMARS + 2


def test_a_vocabulary_that_can_not_be_read_fails_its_askers_and_may_come_later(byte_tokenizer):
    ends = iter([[], [END]])

    def load():
        return vocabulary_of(byte_tokenizer, next(ends), N_VOCAB)

    driver = Driver(FakeModel(n_vocab=N_VOCAB), SMALL, vocabulary=load)
    for seq in range(2):
        driver.loop.submit(submit(seq, [1], grammar=ABC))
        driver.finish()
    assert [type(news) for news in driver.news] == [Refused, Accepted] and list(driver.told) == [1]
    assert driver.news[0].code == "failed" and "no end token" in driver.news[0].message


def test_why_a_vocabulary_can_not_be_read_stays_in_the_log():
    def load():
        raise OSError("/a/secret/path")

    driver = Driver(FakeModel(n_vocab=N_VOCAB), SMALL, vocabulary=load)
    driver.loop.submit(submit(0, [1], grammar=ABC))
    driver.settle()
    assert driver.news == [Refused(0, "failed", "the model's vocabulary can't be read")]


def test_a_loop_without_a_vocabulary_refuses_grammars():
    driver = Driver(FakeModel(), SMALL)
    driver.loop.submit(submit(0, [1], grammar=ABC))
    assert [(news.seq, news.code) for news in driver.news] == [(0, "failed")]


def test_ids_beyond_the_models_rows_are_never_allowed(byte_tokenizer):
    """A tokenizer may have more ids than the model, and the model more than the tokenizer."""
    for n_vocab in (98, 250, 300):
        vocabulary = partial(vocabulary_of, byte_tokenizer, [10], n_vocab)
        driver = Driver(FakeModel(n_vocab=n_vocab), SMALL, vocabulary=vocabulary)
        driver.loop.submit(submit(0, [1], grammar="start: /[^\\n]*/", max_tokens=50, temperature=2.0))
        told = driver.finish()[0]
        assert told.tokens and max(told.tokens) < min(n_vocab, 256)


def test_bytes_that_no_text_has_are_never_allowed(vocabulary):
    grammars = Grammars(vocabulary, (woken := threading.Event()).set)
    grammars.ask(0, "start: /(.|\\n)*/", [])
    assert woken.wait(60)
    ((_, constraint),) = grammars.answers()
    bits = np.unpackbits(np.frombuffer(constraint.mask(), np.uint8), bitorder="little")
    assert not bits[0xFF] and not bits[256] and bits[ord("a")] and bits[END]


def test_a_text_at_the_bound_is_compiled(driver):
    start = 'start: "a"\n'
    for seq, extra in enumerate((0, 1)):
        driver.loop.submit(submit(seq, [1], grammar=start + "\n" * (MAX_GRAMMAR_BYTES - len(start) + extra)))
    told = driver.finish()
    assert list(told) == [0] and [news.seq for news in driver.news if isinstance(news, Refused)] == [1]
