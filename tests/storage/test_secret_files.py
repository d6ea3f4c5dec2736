"""One secret a data folder, for its owner alone; whoever asks first makes it."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from lowcloud.settings import SettingsError
from lowcloud.storage.secret_files import BINDING, binding_secret

FILE, VARIABLE = BINDING


def test_it_is_made_once_for_the_owner_alone(tmp_path):
    folder = tmp_path / "new" / "data"
    secret = binding_secret(folder, {})
    assert re.fullmatch(r"[\w-]{43}", secret)
    assert binding_secret(folder, {}) == secret
    assert (folder / FILE).read_text() == secret + "\n"
    assert (folder / FILE).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in folder.iterdir()] == [FILE]
    assert binding_secret(tmp_path / "other", {}) != secret


def test_of_many_who_make_it_at_once_all_get_the_same(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: binding_secret(tmp_path, {}), range(32)))
    assert len(set(made)) == 1


def test_the_variable_wins_and_leaves_the_folder_alone(tmp_path):
    assert binding_secret(tmp_path, {VARIABLE: "a" * 20}) == "a" * 20
    assert list(tmp_path.iterdir()) == []
    assert binding_secret(tmp_path, {VARIABLE: ""}) != ""


@pytest.mark.parametrize("secret", ["short", "a" * 19, "a" * 201, "a/" * 12, "é" * 24, "a b" * 10])
def test_what_cannot_stand_in_a_header_and_a_path_is_refused_by_the_name_of_where_it_is(tmp_path, secret):
    with pytest.raises(SettingsError, match=VARIABLE):
        binding_secret(tmp_path, {VARIABLE: secret})
    (tmp_path / FILE).write_text(secret)
    with pytest.raises(SettingsError, match=f"{FILE}: must be 20 to 200 letters") as caught:
        binding_secret(tmp_path, {})
    assert secret not in str(caught.value)


def test_an_empty_or_a_binary_file_is_refused_too(tmp_path):
    for content in (b"", b"\xff" * 40):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(SettingsError):
            binding_secret(tmp_path, {})
