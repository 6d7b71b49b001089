"""Several contrasts of one network side by side."""

from torch import nn

from guided.guidance.denoise.contrast import Contrast, require_plain


def together(*contrasts: Contrast) -> Contrast:
    r"""Return one contrast with the pushes of several, all from the same strong branch.

    .. math:: \hat D = D_s + \sum_i (w_i - 1)\, R_i(D_s - D_{w,i})

    ``together(CFG(net, w, null), PAG(net, s))`` is
    :math:`D_c + (w - 1)(D_c - D_u) + (s - 1)(D_c - D_{pag})`: three rows a sample in one network
    call. Nested, ``PAG(CFG(net, w, null), s)`` perturbs both of CFG's branches instead, four rows.

    Args:
        contrasts: over the same denoiser, each a plain :class:`Contrast`; at most one of them with
            a ``finish``, and at most one with a ``strong``.

    Raises:
        TypeError: for what is no contrast, or one that combines in its own way.
        ValueError: for none, other denoisers, or more than one ``finish`` or ``strong``.
    """
    for contrast in contrasts:
        if not isinstance(contrast, Contrast):
            raise TypeError(f"together takes contrasts, got {type(contrast).__name__}")
        require_plain(contrast, "together")
    if not contrasts or any(c.denoiser is not contrasts[0].denoiser for c in contrasts):
        raise ValueError(
            f"together needs contrasts of one denoiser, got {len(contrasts)} with "
            f"{len({id(c.denoiser) for c in contrasts})} denoisers; give every one the same object"
        )
    last = [c for c in contrasts if c.finish]
    first = [c for c in contrasts if c.strong]
    if len(last) > 1 or len(first) > 1:
        raise ValueError(
            f"together takes at most one contrast with a finish and one with a strong branch of "
            f"its own, got {len(last)} and {len(first)}; nest the others"
        )
    merged = Contrast(
        contrasts[0].denoiser,
        [term for contrast in contrasts for term in contrast.terms],
        finish=last[0].finish if last else None,
        space=last[0].space if last else "x0",
        strong=first[0].strong if first else None,
    )
    # Registered, so that weak networks and classifiers move between devices with the rest.
    merged.add_module("contrasts", nn.ModuleList(contrasts))
    return merged
