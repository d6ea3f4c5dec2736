"""Which of the oldest items go."""

from hypothesis import given
from hypothesis import strategies as st

from lowcloud.http.responses.truncation import ROOM, droppable, room, without


def message(role: str) -> dict[str, object]:
    return {"type": "message", "role": role}


def call(call_id: str) -> dict[str, object]:
    return {"type": "function_call", "call_id": call_id}


def output(call_id: str) -> dict[str, object]:
    return {"type": "function_call_output", "call_id": call_id}


REASONING = {"type": "reasoning"}
ITEMS = st.lists(
    st.sampled_from(["user", "assistant", "system", "developer"]).map(message)
    | st.sampled_from("abc").map(call)
    | st.sampled_from("abc").map(output)
    | st.just(REASONING)
    | st.just({"type": "compaction"})
)


def test_the_oldest_go_first_and_neither_rules_nor_the_newest_question():
    items = [message(role) for role in ("system", "user", "assistant", "developer", "user", "assistant")]
    assert droppable(items) == [(1,), (2,), (5,)]
    assert without(items, 2) == [items[0], *items[3:]]
    assert without(items, 0) == items


def test_a_call_goes_with_its_output_and_with_the_reasoning_that_led_to_it():
    items = [REASONING, call("a"), call("b"), message("assistant"), output("b"), output("a"), message("user")]
    assert droppable(items) == [(0, 1, 5), (2, 4), (3,)]


def test_reasoning_before_what_stays_goes_alone():
    items = [REASONING, REASONING, message("user"), REASONING]
    assert droppable(items) == [(0,), (1,), (3,)]


def test_the_outputs_at_the_end_stay_with_their_calls_and_what_led_to_those():
    items = [message("user"), call("a"), output("a"), REASONING, call("b"), call("c"), output("b"), output("c")]
    assert droppable(items) == [(1, 2)]
    assert droppable([*items, message("developer")]) == [(1, 2)]
    assert droppable([*items, message("assistant")]) == [(1, 2), (3, 4, 6), (5, 7), (8,)]
    assert droppable([*items, message("user")]) == [(0,), (1, 2), (3, 4, 6), (5, 7)]


def test_an_answer_without_a_bound_has_the_cards_but_never_more_than_half_of_the_window():
    assert [room(default, 8192) for default in (256, 4096, 8192, None)] == [256, 4096, 4096, ROOM]
    assert room(None, 100) == 50


@given(ITEMS)
def test_every_item_is_kept_or_in_one_group(items):
    groups = droppable(items)
    places = [place for group in groups for place in group]
    kept = [items[place] for place in range(len(items)) if place not in places]
    assert len(places) == len(set(places))
    assert [group[0] for group in groups] == sorted(group[0] for group in groups)
    users = [item for item in items if item.get("role") == "user"]
    assert kept == without(items, len(groups))
    assert [item for item in kept if item.get("role") == "user"] == users[-1:]
    rules = [item for item in items if item.get("role") in ("system", "developer")]
    assert [item for item in kept if item["type"] == "message" and item["role"] != "user"] == rules


@given(ITEMS, st.sampled_from("abc"))
def test_an_output_that_came_last_is_never_left_out(items, call_id):
    items = [*items, output(call_id)]
    assert without(items, len(droppable(items)))[-1] is items[-1]


@given(ITEMS, st.integers(0, 8))
def test_no_call_is_parted_from_its_output(items, n_groups):
    left = without(items, n_groups)
    for call_id in "abc":
        before = [item for item in items if item.get("call_id") == call_id]
        after = [item for item in left if item.get("call_id") == call_id]
        assert after in ([], before)
