"""``guided-image invert`` and ``invert-table`` as a user runs them."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from domains.image.cli import main
from domains.image.operators import OPERATORS
from domains.image.pictures import read_pictures
from tests.commands import refused

fails = partial(refused, main)


def test_pictures_are_cut_to_the_size_of_the_prior(tmp_path: Path) -> None:
    from PIL import Image

    halves = np.zeros((20, 40, 3), dtype=np.uint8)
    halves[:, 20:] = 255
    Image.fromarray(halves).save(tmp_path / "b.png")
    clear = Image.fromarray(np.zeros((8, 8, 4), dtype=np.uint8))
    clear.save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    grey = read_pictures(tmp_path, (1, 4, 4))
    assert grey.shape == (2, 1, 4, 4)
    assert bool((grey[0] == 1).all())  # transparent is white, and a comes before b
    assert grey[1, 0, :, 0].tolist() == [-1] * 4 and grey[1, 0, :, 3].tolist() == [1] * 4
    colour = read_pictures(tmp_path / "b.png", (3, 4, 4))
    assert colour.shape == (1, 3, 4, 4) and torch.equal(colour[0, 0], grey[1, 0])
    (tmp_path / "c.png").write_bytes((tmp_path / "b.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"cannot read the picture .*c.png"):
        read_pictures(tmp_path, (1, 4, 4))
    with pytest.raises(ValueError, match="no folder of pictures"):
        read_pictures(tmp_path / "nowhere", (1, 4, 4))
    with pytest.raises(ValueError, match="got a prior with 2"):
        read_pictures(tmp_path, (2, 4, 4))


@pytest.mark.parametrize("method", ["SCG", "EnKG", "FK", "DPS"])
def test_invert_draws_and_reports(method: str, tmp_path: Path, capsys) -> None:
    options = ["--method", method, "--operator", "box:top=0,left=0", "--index", "3", "5"]
    found = []
    for place in ("a", "b"):
        main(["invert", "--quick", *options, "--out", str(tmp_path / place)])
        report = json.loads((tmp_path / place / "report.json").read_text())
        found.append(report["each"])
        assert (tmp_path / place / "grid.png").read_bytes().startswith(b"\x89PNG")
    assert found[0] == found[1] and len(found[0]["psnr"]) == 2
    assert report["versions"]["torch"] and report["rows"] > 0
    assert f"{method} of box:top=0,left=0" in capsys.readouterr().out


def test_invert_takes_pictures_of_ones_own_and_a_trained_model(tmp_path: Path) -> None:
    from PIL import Image

    small = ["--model.width", "8", "--model.depth", "1"]
    main(["train", "--quick", "--out", str(tmp_path / "run"), *small])
    for i in range(2):
        Image.fromarray(np.full((16, 16), 90 * i, dtype=np.uint8)).save(tmp_path / f"{i}.png")
    places = ["--picture", str(tmp_path), "--prior", str(tmp_path / "run" / "model")]
    figures = tmp_path / "new" / "figures.json"
    out = ["--out", str(tmp_path / "out"), "--json", str(figures)]
    main(["invert", "--quick", "--method", "EnKG", *places, *out])
    assert len(json.loads(figures.read_text())["each"]["misfit"]) == 2
    message = ["invert", "--quick", "--method", "exact", *places, *out]
    with pytest.raises(SystemExit, match="known for the exact prior alone"):
        main(message)


def test_the_table_scores_what_applies_and_says_what_does_not(tmp_path: Path, capsys) -> None:
    main(["train-classifier", "--quick", "--out", str(tmp_path / "run")])
    path, figure = tmp_path / "table.json", tmp_path / "table.png"
    judge = ["--judge", str(tmp_path / "run" / "model")]
    chosen = ["--prior", "exact", "--operators", "jpeg", "box", "--methods", "EnKG", "DPS", "exact"]
    main(["invert-table", "--quick", *chosen, *judge, "--json", str(path), "--figure", str(figure)])
    rows = {(r["operator"], r["method"]): r for r in json.loads(path.read_text())["rows"]}
    assert len(rows) == 6
    assert "needs a differentiable operator" in rows["jpeg", "DPS"]["not_applicable"]
    assert "linear" in rows["jpeg", "exact"]["not_applicable"]
    scored = rows["box", "EnKG"]
    assert scored["psnr"] == pytest.approx(np.mean(scored["each"]["psnr"]), abs=1e-3)
    assert 0 <= scored["accuracy"] <= 1 and scored["rows"] > 0
    assert figure.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert f"{scored['psnr']:.3f}" in printed and "such as EnKG or SCG" in printed


@pytest.mark.parametrize("name", ["image-inverse", "image-inverse-exact"])
def test_the_tables_of_the_readme_are_those_of_the_command(name: str) -> None:
    root = Path(__file__).resolve().parents[2]
    printed = (root / "domains" / "image" / "README.md").read_text()
    rows = json.loads((root / "docs" / f"{name}.json").read_text())["rows"]
    assert {row["operator"] for row in rows} == set(OPERATORS)
    for row in rows:
        if "not_applicable" in row:
            expected = f"{row['method']:10}{row['not_applicable']}"
        else:
            figures = [row[key] for key in ("psnr", "psnr_one", "rel_l2", "misfit", "spread")]
            expected = f"{row['method']:10}" + "".join(f"{value:10.3f}" for value in figures)
        assert expected in printed, (row["operator"], row["method"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--operator", "magic"], "unknown operator 'magic'; expected inpainting, box"),
        (["--operator", "jpeg:speed=1"], "jpeg has no option 'speed'; expected quality"),
        (["--method", "magic"], "unknown method 'magic'; expected none, best-of-n"),
        (["--operator", "jpeg", "--method", "DPS"], "DPS needs a differentiable operator"),
        (["--operator", "jpeg", "--method", "TMPD"], "TMPD needs a linear operator, got JPEG"),
        (["--operator", "phase-retrieval", "--method", "exact", "--prior", "exact"], "got Phase"),
        (["--method", "exact"], "known for the exact prior alone"),
        (["--index", "797"], "0 to 796, got (797,)"),
        (["--index", "-1"], "0 to 796, got (-1,)"),
        (["--noise", "0"], "above 0, got 0"),
        (["--steps", "0"], "at least 1 step"),
        (["--members", "1"], "2 members"),
        (["--pull", "-1"], "scales are 0 or positive, got -1"),
        (["--count", "0"], "at least 1 picture to draw"),
        (["--seed", "-1"], "a seed and threads of at least 0"),
        (["--picture", "nowhere"], "nowhere is no picture"),
        (["--prior", "nowhere"], "nowhere is no checkpoint"),
        (["--json", "."], "it is a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_in_inverting_are_one_sentence(
    arguments: list[str], message: str, tmp_path: Path, capsys
) -> None:
    assert message in fails(["invert", "--out", str(tmp_path), *arguments], capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--operators", "box", "magic"], "unknown operator 'magic'"),
        (["--operators"], "1 operator"),
        (["--methods", "magic"], "unknown method 'magic'"),
        (["--count", "0"], "at least 1 digit"),
        (["--count", "900"], "797 digits are held out, got a count of 900"),
        (["--judge", "nowhere"], "nowhere is no checkpoint"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_in_the_table_are_one_sentence(arguments: list[str], message: str, capsys) -> None:
    assert message in fails(["invert-table", *arguments], capsys)
