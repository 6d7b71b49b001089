"""Result files: refused before the work, written in one piece."""

import json
from pathlib import Path

import pytest

from guided.results import require_writable, versions, write_json


def test_folders_are_made_and_nothing_is_left_in_them(tmp_path: Path) -> None:
    require_writable(tmp_path / "a" / "b" / "figures.json", None)
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ValueError, match=r"cannot write .*file/figures.json \("):
        require_writable(tmp_path / "file" / "figures.json")
    with pytest.raises(ValueError, match="it is a folder"):
        require_writable(tmp_path)
    assert (tmp_path / "file").read_text() == "kept"


def test_a_failure_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    write_json(path, {"error": 0.5, **versions()})
    with pytest.raises(TypeError):
        write_json(path, {"error": object()})
    assert json.loads(path.read_text())["error"] == 0.5
