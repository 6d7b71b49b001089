"""Result files: refused before the work, written in one piece."""

import json
from pathlib import Path

import pytest

import guided
from guided.results import in_one_piece, plain, require_writable, versions, write_json


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


def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with in_one_piece(path) as part:
        part.write_bytes(b"old")
    with (
        pytest.raises(ValueError, match=r"cannot write .*a.bin \(No sp"),
        in_one_piece(path) as part,
    ):
        part.write_bytes(b"ne")
        raise OSError(28, "No space left on device")
    with pytest.raises(KeyError), in_one_piece(path) as part:
        part.write_bytes(b"ne")
        raise KeyError
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"] and path.read_bytes() == b"old"


def test_options_are_plain_and_name_no_machine() -> None:
    inside = Path(guided.__file__).parent / "weights"
    given = {"a": Path("x") / "y", "b": {"c": (inside, 1)}, "d": None, "e": Path("/else/x")}
    found = {"a": "x/y", "b": {"c": ["guided/weights", 1]}, "d": None, "e": "/else/x"}
    assert plain(given) == found == json.loads(json.dumps(plain(given)))
