"""One entry for all data: a D4RL or DSRL file, or the id of a Minari data set."""

from collections.abc import Sequence
from pathlib import Path

from domains.rl.data.d4rl import load_hdf5
from domains.rl.data.minari_data import load
from domains.rl.data.offline import OfflineData


def load_data(
    source: str | Path,
    *,
    download: bool = False,
    cache: Path | None = None,
    keys: Sequence[str] | None = None,
    horizon: int | None = None,
) -> OfflineData:
    """Return logged episodes as flat tensors.

    Args:
        source: a file that ends in ``.hdf5`` or ``.h5`` (D4RL, DSRL), else a Minari id.
        download: fetch a Minari data set that is not there.
        cache: as :func:`domains.rl.data.minari_data.load` takes it; D4RL files need none.
        keys: entries of Minari's dict observations; None chooses.
        horizon: steps of an episode in a D4RL file that does not mark its timeouts.

    Raises:
        ValueError: for data that are not there, cannot be read, or cannot be trained on, or for an
            option of the other kind of data.
    """
    if Path(source).suffix.lower() in (".hdf5", ".h5"):
        if download:
            raise ValueError(f"only Minari ids can be downloaded, got the file {source}")
        return load_hdf5(Path(source), horizon=horizon)
    if horizon is not None:
        raise ValueError(
            f"Minari data know where episodes were cut, and {source} is such an id; leave out the "
            f"horizon, which is for D4RL files"
        )
    return load(str(source), download=download, cache=cache, keys=keys)
