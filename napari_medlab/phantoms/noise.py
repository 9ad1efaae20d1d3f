"""Random fields with a power-law spectrum: the texture of tissue, and the wobble of outlines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["power_noise", "ridges"]


def power_noise(
    rng: np.random.Generator,
    shape: tuple[int, int],
    exponent: float,
    shortest_px: float = 1.0,
    longest_px: float = 1e4,
) -> NDArray[np.float32]:
    """Return a float32 field (y, x) of mean 0 and deviation 1 whose power falls with frequency as 1 / f ** exponent.

    Parameters
    ----------
    rng : the source of randomness
    shape : (y, x), pixels; the field is periodic where both are products of small primes
    exponent : about 3 for breast tissue; larger is smoother
    shortest_px : wavelengths below are damped
    longest_px : wavelengths above are no stronger than this one
    """
    from scipy import fft

    size = [fft.next_fast_len(n, real=True) for n in shape]
    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None]).astype(np.float32)
    amplitude = np.maximum(frequency, np.float32(1 / longest_px)) ** np.float32(-exponent / 2)
    amplitude *= np.exp(-((frequency * np.float32(0.5 * shortest_px)) ** 2))
    amplitude[0, 0] = 0
    spectrum = rng.standard_normal((*amplitude.shape, 2), np.float32).view(np.complex64)[..., 0]
    field: NDArray[np.float32] = fft.irfft2(spectrum * amplitude, s=size)[: shape[0], : shape[1]]
    field -= field.mean()
    field /= field.std()
    return field


def ridges(field: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """Return thin lines, 0 to 1, along the zero crossings of a smooth field: a web of filaments."""
    lines: NDArray[np.float32] = np.clip(1 - np.abs(field) / np.float32(width), 0, 1)
    return lines
