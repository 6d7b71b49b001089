"""The one entry to pictures: the name of a data set, a folder, or an IDX file."""

from pathlib import Path

from domains.image.data.digits import digits
from domains.image.data.folder import folder
from domains.image.data.idx import idx, idx_folder
from domains.image.data.images import Images, warn_off_centre


def load_images(source: str | Path, size: int | None = None, grey: bool = False) -> Images:
    """Return the pictures of a source, in [-1, 1].

    ==============================  ==============================================================
    source                          what it is
    ==============================  ==============================================================
    ``digits``                      the digits of scikit-learn, 8 x 8
    an IDX file                     pictures, with the labels of the file beside it if there is one
    a folder of IDX files           as MNIST comes: ``train-...``, and ``t10k-...`` held out
    any other folder                pictures in it, or one subfolder for every class
    ==============================  ==============================================================

    A tenth is held out, drawn by a fixed seed, where the source does not say what is.

    Args:
        source: one of the above.
        size: resize so that the shorter side is this, and cut out the square in the middle; None
            leaves the pictures as they are.
        grey: make colours grey.

    Raises:
        ValueError: for a source that is not there, or is not what it seems.

    Warns:
        UserWarning: where the pixels lie far from 0, with their mean.
    """
    images = _loaded(source, size, grey)
    warn_off_centre(images)
    return images


def _loaded(source: str | Path, size: int | None, grey: bool) -> Images:
    if size is not None and size < 1:
        raise ValueError(f"the size of a picture is at least 1 pixel, got {size}")
    if str(source) == "digits":
        if size not in (None, 8):
            raise ValueError(f"the digits are 8 x 8, got a size of {size}; leave the size away")
        return digits()
    path = Path(source)
    if path.is_dir():
        return idx_folder(path, size) or folder(path, size, grey)
    if path.is_file():
        return idx(path, size)
    raise ValueError(f"{source} is no data set, file or folder; give 'digits' or a path")
