"""GenAI's pipeline over a tiny exported model: tokens come, depend on what is asked and seen, and end when told."""

from dataclasses import replace

import pytest
from tiny_pictures import OTHER, PICTURE
from tiny_vlm import IMAGE_TOKENS

from lowcloud.engines.local.frames import Submit
from lowcloud.engines.local.pictures import pixels
from lowcloud.engines.local.spec import WorkerSpec
from lowcloud.engines.local.vision_loop import RefusedError
from lowcloud.engines.local.vision_pipeline import GenaiPipeline, load

LOOK = "what is <ov_genai_image_0> this?"
ASKED = Submit(1, [], [], 12, [], 0.0, 1.0, 0, 0.0, 1.0, 0.0, 0.0, [], 7, 0, -1, text=LOOK)


@pytest.fixture(scope="module")
def pipeline(tiny_vlm) -> GenaiPipeline:
    return load(WorkerSpec("vision", str(tiny_vlm), "none", precision="f32", threads=1))[0]


def said(pipeline, *pictures: bytes, n: int = 12, **fields: object) -> tuple[list[int], int]:
    """The tokens, at most ``n``, and the prompt's count."""
    tokens: list[int] = []

    def write(token: int) -> bool:
        tokens.append(token)
        return len(tokens) < n

    seen = [pixels(picture, 800) for picture in pictures]
    count = pipeline.generate(replace(ASKED, **fields), seen, write)
    return tokens, count


def test_what_it_is_given_is_named_with_its_context(tiny_vlm):
    _, ready = load(WorkerSpec("vision", str(tiny_vlm), "none", context_length=100))
    assert (ready.paged, ready.context_length, ready.kv_blocks) == (False, 100, 0)
    assert ready.weights.startswith(f"{tiny_vlm.name}-genai20")


def test_an_answer_depends_on_the_image_and_is_the_same_each_time(pipeline):
    long = {"temperature": 3.0, "n": 100}
    first = said(pipeline, PICTURE, **long)
    assert said(pipeline, OTHER, **long)[0] != first[0]
    assert said(pipeline, text="what is this?", **long)[0] != first[0]
    assert said(pipeline, PICTURE, **long) == first


def test_a_prompt_is_counted_with_its_images_and_encoded_as_it_is(pipeline):
    _, plain = said(pipeline, text="what is this?")
    assert plain == len("what is this?")  # bytes, and no BOS
    _, one = said(pipeline, PICTURE)
    _, two = said(pipeline, PICTURE, OTHER, text=LOOK + "<ov_genai_image_1>")
    assert two - one == one - plain - 1 >= IMAGE_TOKENS
    assert said(pipeline, text="<|im_start|>a<|im_end|>")[1] == 3


def test_a_seed_and_a_choice_make_an_answer_and_others_another(pipeline):
    hot = {"temperature": 2.0, "seed": 5}
    first = said(pipeline, PICTURE, **hot)[0]
    assert said(pipeline, PICTURE, **hot)[0] == first
    assert said(pipeline, PICTURE, **hot, choice=1)[0] != first
    assert said(pipeline, PICTURE, **(hot | {"seed": 5 + 2**32}))[0] != first
    assert said(pipeline, PICTURE, **(hot | {"seed": -5}))[0] != first


@pytest.mark.parametrize("fields", [{"top_k": 1}, {"min_p": 1.0}, {"top_p": 0.0001}])
def test_sampling_among_one_token_is_greedy(pipeline, fields):
    assert said(pipeline, PICTURE, temperature=1.5, **fields) == said(pipeline, PICTURE)


@pytest.mark.parametrize("fields", [{"repetition_penalty": 1.5}, {"presence_penalty": 1.9}, {"frequency_penalty": 1.9}])
def test_penalties_change_what_repeats(pipeline, fields):
    plain = "hello world"
    assert said(pipeline, text=plain, **fields)[0] != said(pipeline, text=plain)[0]


def test_a_stop_token_ends_an_answer_and_is_given(pipeline):
    free, _ = said(pipeline, PICTURE)
    stop = next(token for token in free if token != free[0])
    assert said(pipeline, PICTURE, stop_ids=[stop])[0] == free[: free.index(stop) + 1]


def test_only_the_stop_tokens_that_are_named_end_an_answer(pipeline):
    """265 is the model's own, and not named here."""
    for seed in range(40):
        tokens, _ = said(pipeline, PICTURE, n=60, temperature=5.0, seed=seed, stop_ids=[264])
        if 265 in tokens[:-1]:
            return
    raise AssertionError("the model's own end never came, or ended the answer")


def test_the_context_ends_an_answer(pipeline):
    tokens: list[int] = []
    text = "x" * 250
    count = pipeline.generate(replace(ASKED, text=text), [], lambda token: tokens.append(token) is None)
    assert (count, len(tokens)) == (250, 6)


@pytest.mark.parametrize(
    ("fields", "pictures", "code"),
    [
        ({"text": "x" * 256}, (), "too_long"),
        ({"text": LOOK + "x" * 200}, (PICTURE,), "too_long"),
        ({"text": "an <image> of <ov_genai_image_0>"}, (PICTURE,), "bad_prompt"),
        ({"text": "an <image>"}, (), "bad_prompt"),
        ({"text": ""}, (), "failed"),
        ({"temperature": 1.0, "top_p": -1.0}, (), "failed"),
    ],
)
def test_what_is_refused_says_nothing_of_the_build_and_leaves_the_pipeline_as_it_was(pipeline, fields, pictures, code):
    before = said(pipeline, PICTURE)
    with pytest.raises(RefusedError) as caught:
        said(pipeline, *pictures, **fields)
    assert caught.value.code == code
    assert "/" not in str(caught.value)
    assert said(pipeline, PICTURE) == before


def test_what_goes_wrong_with_a_token_ends_the_answer_and_is_raised(pipeline):
    before = said(pipeline, PICTURE)

    def write(_: int) -> bool:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        pipeline.generate(ASKED, [pixels(PICTURE, 800)], write)
    assert said(pipeline, PICTURE) == before
