"""What a measurement prints and keeps."""

from typing import Any

from guided.results import versions

UNITS = {"call_us": "us a call", "beyond_us": "us a step", "overhead": "ratio", "seconds": "s"}


def table(case: dict[str, Any]) -> str:
    """Return the figures of one network as text: medians, and the least in brackets."""
    lines = [
        "",
        f"{case['network']}: {case['shape'][0]} rows a call, {case['steps']} steps, "
        f"n = {case['rounds']}, median (least)",
        f"{'':20}{'calls':>6}{'us a call':>18}{'us a step beyond':>19}{'overhead':>17}",
    ]
    for row in case["loops"]:
        cells = _cell(row, "call_us", 0), _cell(row, "beyond_us", 1), _cell(row, "overhead", 3)
        lines.append(f"{row['loop']:20}{row['calls']:>6}" + "".join(cells))
    lines += [f"{name:20}  not measured: it is not installed" for name in case["absent"]]
    for target in case["targets"]:
        verdict = "kept  " if target["found"] <= target["most"] else "MISSED"
        lines.append(f"{verdict} {target['what']}: {target['found']:.3g}, at most {target['most']}")
    return "\n".join(lines)


def _cell(row: dict[str, Any], figure: str, digits: int) -> str:
    median, least = (f"{row[kind][figure]:.{digits}f}" for kind in ("median", "least"))
    return f"{median:>9} {f'({least})':>8}"


def document(
    command: str, options: dict[str, Any], cases: list[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    """Return all figures with what is needed to read them again."""
    return {
        "command": f"guided-bench {command}",
        "options": options,
        "cases": cases,
        "units": UNITS,
        "versions": versions(),
        "seconds": round(seconds, 1),
    }
