"""A vision model's sequences run one after the other, and end as soon as they may. The pipeline is one that counts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from tiny_pictures import PICTURE

from lowcloud.engines.local.frames import Accepted, Cancel, Counted, Encode, Frame, Refused, Step, Submit
from lowcloud.engines.local.vision_loop import RefusedError, VisionLoop


class HungUp(Exception):
    """The server is gone."""


@dataclass
class Server:
    """Gives the frames of each visit, then hangs up; keeps what it is sent."""

    visits: list[list[Frame]]
    sent: list[Frame] = field(default_factory=list)
    waits: list[bool] = field(default_factory=list)

    def send(self, frame: Frame) -> None:
        self.sent.append(frame)

    def receive(self, *, wait: bool) -> list[Frame]:
        self.waits.append(wait)
        if self.visits:
            return self.visits.pop(0)
        if wait:
            raise HungUp
        return []


@dataclass
class Counting:
    """A pipeline whose tokens are 1, 2, 3 ...; ``n_tokens`` fit into its context."""

    n_tokens: int = 100
    refuses: RefusedError | None = None
    texts: list[str] = field(default_factory=list)
    shapes: list[list[tuple[int, ...]]] = field(default_factory=list)

    def generate(self, request: Submit, images: Sequence[np.ndarray], write: Callable[[int], bool]) -> int:
        self.texts.append(request.text)
        self.shapes.append([image.shape for image in images])
        if self.refuses:
            raise self.refuses
        for token in range(1, self.n_tokens + 1):
            if not write(token):
                break
        return 42


def submit(seq: int = 1, **fields: object) -> Submit:
    usual = Submit(seq, [], [], 3, [9], 0.0, 1.0, 0, 0.0, 1.0, 0.0, 0.0, [], 7, 0, -1, text=f"text {seq}")
    return replace(usual, **fields)


def told(*visits: list[Frame], pipeline: Counting | None = None) -> list[Frame]:
    """What a server of these visits is sent."""
    server = Server(list(visits))
    with pytest.raises(HungUp):
        VisionLoop(server, pipeline or Counting()).serve()
    return server.sent


def outputs(sent: list[Frame]) -> list[list[object]]:
    return [output for frame in sent if isinstance(frame, Step) for output in frame.outputs]


def test_tokens_go_out_as_they_come_and_the_prompts_count_before_the_last():
    assert told([submit(1)]) == [
        Accepted(1, 0),
        Step([[1, [1], None, None]], [0, 1, 0, 0, 0, 0]),
        Step([[1, [2], None, None]], [0, 1, 0, 0, 0, 0]),
        Counted(1, 42),
        Step([[1, [3], None, "length"]], [0, 0, 0, 0, 0, 0]),
    ]


def test_a_stop_token_is_the_last_and_says_so():
    assert outputs(told([submit(1, max_tokens=10, stop_ids=[2, 5])])) == [[1, [1], None, None], [1, [2], None, "stop"]]


def test_an_answer_that_the_context_ends_is_cut_there():
    sent = told([submit(1, max_tokens=10)], pipeline=Counting(n_tokens=2))
    assert outputs(sent) == [[1, [1], None, None], [1, [2], None, None], [1, [], None, "length"]]


def test_sequences_run_one_after_the_other_in_the_order_of_their_ranks_and_arrivals():
    pipeline = Counting()
    frames = [submit(1, rank=2), submit(2, rank=1), submit(3), submit(4, rank=1)]
    sent = told(frames[:2], frames[2:], pipeline=pipeline)
    assert pipeline.texts == ["text 2", "text 3", "text 4", "text 1"]
    order = [output[0] for output in outputs(sent)]
    assert order == [2, 2, 2, 3, 3, 3, 4, 4, 4, 1, 1, 1]


def test_it_waits_for_the_server_only_when_there_is_nothing_to_do():
    server = Server([[submit(1, max_tokens=1)]])
    with pytest.raises(HungUp):
        VisionLoop(server, Counting()).serve()
    assert server.waits == [True, False, True]


def test_a_cancelled_sequence_ends_before_its_next_token_and_tells_that_nothing_runs():
    sent = told([submit(1, max_tokens=10)], [], [Cancel(1)])
    assert sent == [Accepted(1, 0), Step([[1, [1], None, None]], [0, 1, 0, 0, 0, 0]), Step([], [0, 0, 0, 0, 0, 0])]


def test_a_sequence_that_is_cancelled_before_its_first_token_is_never_accepted():
    assert told([submit(1)], [Cancel(1)]) == [Step([], [0, 0, 0, 0, 0, 0])]


def test_a_sequence_that_waits_is_forgotten_when_it_is_cancelled():
    pipeline = Counting()
    told([submit(1), submit(2), submit(3)], [Cancel(2), Cancel(9)], pipeline=pipeline)
    assert pipeline.texts == ["text 1", "text 3"]


def test_what_the_pipeline_refuses_is_refused_and_the_next_one_runs():
    sent = told([submit(1), submit(2)], pipeline=Counting(refuses=RefusedError("too_long", "it is long")))
    assert [frame for frame in sent if isinstance(frame, Refused)] == [
        Refused(1, "too_long", "it is long"),
        Refused(2, "too_long", "it is long"),
    ]


def test_images_are_decoded_and_one_that_is_none_is_refused_by_its_number():
    pipeline = Counting()
    sent = told([submit(1, images=[PICTURE, b"nonsense"]), submit(2, images=[PICTURE])], pipeline=pipeline)
    assert sent[0] == Refused(1, "bad_prompt", "image 2 is broken, or no PNG, JPEG, WebP or GIF")
    assert pipeline.shapes == [[(1, 20, 40, 3)]]


def test_the_images_of_a_sequence_share_a_bound_on_their_pixels():
    """Each of them has 800."""
    server = Server([[submit(1, images=[PICTURE] * 3), submit(2, images=[PICTURE] * 2)]])
    pipeline = Counting()
    with pytest.raises(HungUp):
        VisionLoop(server, pipeline, max_pixels=1700).serve()
    assert server.sent[0] == Refused(1, "bad_prompt", "image 3 has 40 x 20 pixels, and 100 are left to it")
    assert pipeline.shapes == [[(1, 20, 40, 3)] * 2]


def test_an_answer_that_another_process_began_is_not_gone_on_with():
    [refused, _] = told([submit(1, forced=[1, 2])])
    assert isinstance(refused, Refused)
    assert refused.code == "failed"


def test_a_frame_for_another_kind_of_model_is_an_error():
    with pytest.raises(ValueError, match="a vision worker gets no Encode"):
        VisionLoop(Server([[Encode(1, [], "mean")]]), Counting()).serve()
