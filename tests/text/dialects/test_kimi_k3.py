import pytest
from dialect_fixtures import fixtures, is_right, read

from lowcloud.text.dialects.kimi_k3 import DIALECT

FIXTURES = tuple(fixture for fixture in fixtures("kimi") if "x-kimi-k3" in fixture["tags"])


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture["id"])
@pytest.mark.parametrize("size", range(9))
def test_an_output_reads_the_same_whole_and_in_any_chunks(fixture, size):
    assert is_right(fixture, read(DIALECT, fixture, size)), read(DIALECT, fixture, size)


def test_it_knows_whether_the_prompt_opened_the_reasoning():
    assert DIALECT.is_thinking('<|open|>message role="assistant"<|sep|><|open|>think<|sep|>')
    assert not DIALECT.is_thinking('<|open|>message role="assistant"<|sep|><|open|>response<|sep|>')
