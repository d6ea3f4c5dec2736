import pytest
from dialect_fixtures import fixtures, misread

from lowcloud.text.dialects.hermes import DIALECT

FIXTURES = fixtures("qwen3-hermes")


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture["id"])
def test_an_output_reads_the_same_whole_and_in_any_chunks(fixture):
    assert misread(DIALECT, fixture) == {}
