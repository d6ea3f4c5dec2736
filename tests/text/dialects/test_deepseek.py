import pytest
from dialect_fixtures import fixtures, is_right, read

from lowcloud.text.dialects.deepseek import DEEPSEEK_V3, DEEPSEEK_V31

DIALECTS = {"x-deepseek-v3": DEEPSEEK_V3, "x-deepseek-v31": DEEPSEEK_V31}
FIXTURES = [(DIALECTS[tag], fixture) for fixture in fixtures("deepseek") for tag in fixture["tags"] if tag in DIALECTS]


@pytest.mark.parametrize(
    ("dialect", "fixture"), FIXTURES, ids=lambda value: value["id"] if isinstance(value, dict) else value.name
)
@pytest.mark.parametrize("size", range(9))
def test_an_output_reads_the_same_whole_and_in_any_chunks(dialect, fixture, size):
    assert is_right(fixture, read(dialect, fixture, size)), read(dialect, fixture, size)
