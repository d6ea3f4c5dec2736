import pytest
from dialect_fixtures import fixtures, is_right, read

from lowcloud.text.dialects.glm import GLM_45, GLM_47

FIXTURES = fixtures("glm")


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture["id"])
@pytest.mark.parametrize("size", range(9))
def test_an_output_reads_the_same_whole_and_in_any_chunks(fixture, size):
    dialect = GLM_45 if fixture["models"][0] == "zai-org/GLM-4.5" else GLM_47
    assert is_right(fixture, read(dialect, fixture, size)), read(dialect, fixture, size)
