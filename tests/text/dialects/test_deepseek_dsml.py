import pytest
from dialect_fixtures import fixtures, is_right, read

from lowcloud.text.dialects.deepseek_dsml import DEEPSEEK_V4, DEEPSEEK_V32, DEEPSEEK_V41

DIALECTS = {"x-deepseek-v32": DEEPSEEK_V32, "x-deepseek-v4": DEEPSEEK_V4, "x-deepseek-v41": DEEPSEEK_V41}
FIXTURES = [(DIALECTS[tag], fixture) for fixture in fixtures("deepseek") for tag in fixture["tags"] if tag in DIALECTS]


@pytest.mark.parametrize(
    ("dialect", "fixture"), FIXTURES, ids=lambda value: value["id"] if isinstance(value, dict) else value.name
)
@pytest.mark.parametrize("size", range(9))
def test_an_output_reads_the_same_whole_and_in_any_chunks(dialect, fixture, size):
    assert is_right(fixture, read(dialect, fixture, size)), read(dialect, fixture, size)
