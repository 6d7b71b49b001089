"""The network: relations, encoder, marginal modes, joint denoiser."""
