"""demo: the same ten digits under several kinds of guidance, and digits from measurements."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from domains.image.classifier import JUDGE, Classifier, load_classifier
from domains.image.data.source import load_images
from domains.image.generation import Generator, Sampling
from domains.image.grids import labels_in_turn
from domains.image.inversion import Settings
from domains.image.invert import recover
from domains.image.model import SMALL
from domains.image.operators import corrupt, operator_named
from domains.image.prior import EXACT, prior_named
from domains.image.recovery_grid import draw_grid
from domains.image.recovery_scores import scores
from guided.guidance.registry import Named
from guided.results import require_writable, versions, write_json

SHOWN = {
    "none": Named(),
    "cfg": Named("cfg").scaled(2.0),
    "interval": Named("interval").scaled(3.0),
    "apg": Named("apg").scaled(3.0),
    "pag": Named("pag").scaled(1.5),
    "autoguidance": Named("autoguidance").scaled(3.0),
    "gfcg + autoguidance": Named("gfcg-autoguidance").scaled(3.0),
}
DRAWN = 6  # recovered pictures of each measurement
ASKED = {"inpainting:share=0.5": "SCG", "gaussian-blur": "DPS", "jpeg:quality=5": "EnKG"}


@dataclass(frozen=True)
class Demo:
    """Draw digits under guidance and from measurements; ten seconds on a quiet machine."""

    out: Path = Path("demo-image")
    """Folder for guidance.png, inverse.png and report.json."""
    seed: int = 0
    """Of all draws."""
    judged: int = 200
    """Digits of each kind of guidance that the judge sees; the first ten are drawn."""
    quick: bool = False
    """Few steps and digits: a smoke test."""

    def run(self) -> None:
        """Draw, print and report.

        Raises:
            ValueError: for fewer than ten digits, or a folder that cannot be written.
        """
        if self.judged < 10:
            raise ValueError(f"the judge needs at least 10 digits, got {self.judged}")
        guidance, inverse = self.out / "guidance.png", self.out / "inverse.png"
        report = self.out / "report.json"
        require_writable(guidance, inverse, report)
        began = time.perf_counter()
        figures = {"guidance": self._guided(guidance), "inverse": self._inverse(inverse)}
        seconds = round(time.perf_counter() - began, 1)
        write_json(report, {**figures, "seconds": seconds, "versions": versions()})
        print(f"wrote {guidance}, {inverse} and {report} in {seconds} s")

    def _guided(self, path: Path) -> dict[str, float]:
        """Draw the same ten digits under every kind of guidance; return the judge's accuracy."""
        generator = Generator.load(SMALL, Sampling(steps=4 if self.quick else 16))
        judge = load_classifier(JUDGE)
        labels = labels_in_turn(10 if self.quick else self.judged, range(10))
        rows, found = [], {}
        for name, named in tqdm(SHOWN.items(), desc="guidance", unit="method"):
            x0 = generator.sample(named, labels, seed=self.seed)
            found[name] = _accuracy(judge, x0, labels)
            rows.append(list(x0[:10].clamp(-1, 1)))
        names = [f"{name}  {100 * share:.0f} %" for name, share in found.items()]
        title = "The same noise and classes; digits that the judge recognises"
        draw_grid(rows, [str(k) for k in range(10)], names, path, title)
        print("digits that a classifier that did not guide recognises")
        for name in names:
            print(f"  {name}")
        return found

    def _inverse(self, path: Path) -> dict[str, dict[str, float]]:
        """Recover three held-out digits of each operator; return mean figures."""
        prior, truth = prior_named(EXACT), load_images("digits").test.x[:3]
        settings = Settings(4, 4, 2) if self.quick else Settings(members=96)
        rows, names, found = [], [], {}
        for operator, method in ASKED.items():
            degradation = operator_named(operator, prior.shape)
            measured = corrupt(degradation, truth, 0.1, self.seed)
            members = recover(method, prior, measured, settings, self.seed)
            each = scores(members, measured)
            found[f"{method} of {operator}"] = {k: sum(v) / len(v) for k, v in each.items()}
            seen = degradation.picture(measured.y)
            for one in range(len(truth)):
                drawn = list(members.members[one, :DRAWN].clamp(-1, 1))
                rows.append([truth[one], seen[one], *drawn, *[None] * (DRAWN - len(drawn))])
                names.append(f"{operator.split(':')[0]}, {method}")
        columns = ["truth", "measured", *(f"draw {k + 1}" for k in range(DRAWN))]
        draw_grid(rows, columns, names, path, "Digits recovered from what was measured")
        return found


@torch.no_grad()
def _accuracy(judge: Classifier, x0: Tensor, labels: Tensor) -> float:
    return (judge(x0.clamp(-1, 1)).argmax(1) == labels).double().mean().item()
