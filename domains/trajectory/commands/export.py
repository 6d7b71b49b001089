"""export: forecasts in the formats of others."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from domains.trajectory.export.argoverse import check_submission, write_submission
from domains.trajectory.export.commonroad import write_commonroad
from domains.trajectory.scene_file import read_forecast


@dataclass(frozen=True)
class Export:
    """Write forecasts as an Argoverse 2 submission (.parquet) or a CommonRoad scenario (.xml).

    A submission is checked as the challenge would, before it is written and again as it was.
    """

    forecasts: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Files of predict or guide (.json); one for CommonRoad."""
    out: Path = Path("submission.parquet")
    """The file: its suffix tells the format."""
    keep: int | None = None
    """At most so many worlds of each scene, the most probable; None keeps all, at most 6."""
    world: int = 0
    """Which world becomes the CommonRoad scenario."""

    def run(self) -> None:
        """Write and check.

        Raises:
            ValueError: for what cannot be read or written, or would be refused.
        """
        found = [read_forecast(path) for path in self.forecasts]
        if not found:
            raise ValueError("give one or more forecasts, as predict and guide write them")
        if self.out.suffix == ".parquet":
            write_submission(self.out, found, self.keep)
            wrong = check_submission(self.out, [forecast.scene for forecast in found])
            if wrong:
                raise ValueError(f"{self.out} was written and is not valid: {wrong[0]}")
            print(f"wrote {self.out}: {len(found)} scenarios, valid")
        elif self.out.suffix == ".xml" and len(found) == 1:
            write_commonroad(self.out, found[0], self.world)
            print(f"wrote {self.out}")
        else:
            raise ValueError(
                f"cannot write {len(found)} forecasts to {self.out}; give a .parquet, or a .xml for"
                f" one"
            )
