"""Batches across requests: when they close, what is in them, and that nothing is lost."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lowcloud.engines.local.encoder_batch import Batcher, Job, RankedBatcher, length_class

BUDGET, WAIT_S = 100, 2.0


def job(number: int, n_tokens: int = 10, arrived_s: float = 0.0, rank: int = 0) -> Job:
    return Job(number, tuple(range(n_tokens)), "mean", arrived_s, rank)


def ids(batch: tuple[Job, ...]) -> list[int]:
    return [item.id for item in batch]


def test_a_batch_closes_when_the_oldest_has_waited():
    batcher = Batcher(BUDGET, WAIT_S)
    batcher.add(job(1, arrived_s=0.0))
    batcher.add(job(2, arrived_s=1.5))
    assert batcher.take(1.9) == ()
    assert batcher.due_in_s(1.5) == 0.5
    assert ids(batcher.take(2.0)) == [1, 2]
    assert batcher.due_in_s(2.0) is None


def test_a_batch_closes_at_once_when_the_budget_is_full():
    batcher = Batcher(BUDGET, WAIT_S)
    for number in range(11):
        batcher.add(job(number))
    assert batcher.due_in_s(0.0) == 0.0
    assert ids(batcher.take(0.0)) == list(range(10))
    assert batcher.take(0.0) == ()
    assert len(batcher) == 1


def test_an_input_over_the_budget_goes_alone():
    batcher = Batcher(BUDGET, WAIT_S)
    batcher.add(job(1, n_tokens=120))
    batcher.add(job(2, n_tokens=120))
    assert [ids(batcher.take(0.0)), ids(batcher.take(0.0)), ids(batcher.take(0.0))] == [[1], [2], []]


def test_inputs_of_unlike_length_go_in_passes_of_their_own():
    batcher = Batcher(1000, WAIT_S)
    for number, n_tokens in enumerate((20, 300, 64, 65, 290)):
        batcher.add(job(number, n_tokens))
    assert [ids(batcher.take(5.0)) for _ in range(4)] == [[0, 2], [1, 4], [3], []]


def test_a_full_class_does_not_pass_over_an_older_job_that_is_due():
    batcher = Batcher(BUDGET, WAIT_S)
    batcher.add(job(1, n_tokens=90, arrived_s=0.0))
    for number in range(2, 12):
        batcher.add(job(number, arrived_s=1.0))
    assert ids(batcher.take(2.0)) == [1]


def test_a_full_class_does_not_wait_for_an_older_job_that_is_not_due():
    batcher = Batcher(BUDGET, WAIT_S)
    batcher.add(job(1, n_tokens=90, arrived_s=0.0))
    for number in range(2, 12):
        batcher.add(job(number, arrived_s=1.0))
    assert ids(batcher.take(1.0)) == list(range(2, 12))


def test_idle_lanes_share_what_waits_but_not_in_crumbs():
    batcher = Batcher(1000, WAIT_S)
    for number in range(40):
        batcher.add(job(number))
    assert [len(batcher.take(9.0, idle_lanes=2)), len(batcher.take(9.0, idle_lanes=1))] == [20, 20]
    for number in range(20):
        batcher.add(job(number))
    assert [len(batcher.take(9.0, idle_lanes=4)), len(batcher.take(9.0, idle_lanes=3))] == [12, 8]


def test_nothing_waits_in_an_empty_batcher():
    batcher = Batcher(BUDGET, WAIT_S)
    batcher.cancel(7)
    assert (batcher.take(9.0), batcher.due_in_s(9.0), len(batcher)) == ((), None, 0)


@given(st.integers(1, 10_000))
def test_a_class_of_length_loses_at_most_half_to_padding(n_tokens: int):
    kind = length_class(n_tokens)
    assert n_tokens <= kind
    assert kind == 64 or n_tokens > kind // 2


class Batches(RuleBasedStateMachine):
    """No input is lost, none doubled; order within a class is kept, and so are the budget and the wait."""

    def __init__(self) -> None:
        super().__init__()
        self.batcher = Batcher(BUDGET, WAIT_S)
        self.waiting: dict[int, Job] = {}
        self.now = 0.0
        self.next_id = 0

    @rule(n_tokens=st.integers(1, 150))
    def an_input_comes(self, n_tokens: int) -> None:
        added = job(self.next_id, n_tokens, self.now)
        self.next_id += 1
        self.waiting[added.id] = added
        self.batcher.add(added)

    @rule(seconds=st.floats(0, 3))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(data=st.data())
    @precondition(lambda self: self.waiting)
    def a_caller_leaves(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(sorted(self.waiting)))
        del self.waiting[gone]
        self.batcher.cancel(gone)

    @rule(idle_lanes=st.integers(1, 4))
    def a_batch_is_taken(self, idle_lanes: int) -> None:
        due, batch = self.batcher.due_in_s(self.now), self.batcher.take(self.now, idle_lanes)
        assert bool(batch) == (due == 0.0)
        taken = [self.waiting.pop(item.id) for item in batch]
        assert taken == list(batch) == sorted(batch, key=lambda item: item.id)
        assert len(taken) == 1 or sum(len(item.ids) for item in taken) <= BUDGET
        kinds = {length_class(len(item.ids)) for item in taken}
        assert len(kinds) <= 1
        left = [item.id for item in self.waiting.values() if length_class(len(item.ids)) in kinds]
        assert not left or taken[-1].id < min(left)

    @invariant()
    def what_waits_is_known(self) -> None:
        assert len(self.batcher) == len(self.waiting)
        oldest = min(self.waiting.values(), key=lambda item: item.id, default=None)
        due = self.batcher.due_in_s(self.now)
        assert (due is None) == (oldest is None)
        assert due is None or due <= max(0.0, oldest.arrived_s + WAIT_S - self.now)

    def teardown(self) -> None:
        self.now += WAIT_S + 1
        while batch := self.batcher.take(self.now):
            for item in batch:
                del self.waiting[item.id]
        assert not self.waiting


TestBatches = Batches.TestCase


def test_nothing_of_a_higher_rank_is_taken_while_something_of_a_lower_one_waits():
    batcher = RankedBatcher(BUDGET, WAIT_S)
    assert (batcher.due_in_s(0.0), batcher.take(0.0)) == (None, ())
    for number in range(20):
        batcher.add(job(number, rank=2))
    batcher.add(job(30, arrived_s=1.0))
    batcher.add(job(31, arrived_s=1.0, rank=1))
    assert (batcher.due_in_s(1.0), batcher.take(1.0)) == (WAIT_S, ())
    assert ids(batcher.take(3.0)) == [30]
    assert ids(batcher.take(3.0)) == [31]
    assert ids(batcher.take(3.0)) == list(range(10))


def test_who_is_cancelled_holds_back_nobody_of_a_higher_rank():
    batcher = RankedBatcher(BUDGET, WAIT_S)
    batcher.add(job(1))
    batcher.add(job(2, rank=2))
    batcher.cancel(1)
    batcher.cancel(99)
    assert ids(batcher.take(WAIT_S)) == [2]
    assert batcher.due_in_s(WAIT_S) is None
