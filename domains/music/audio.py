r"""Sound of a roll: FluidSynth where it is installed, else a small additive synthesiser.

A note of the synthesiser is a sum of partials k = 1, 2, ... of a stiff string that die away, high
ones and high notes faster, times a short attack and, after the note's end, a release:

    y(t) = v^1.5 \sum_k k^{-1.3} \sin(2 pi f_k t) exp(-d k^{0.6} t),   f_k = k f sqrt(1 + B k^2).

Times are in seconds, waveforms are mono with samples in [-1, 1].
"""

from os import PathLike
from types import ModuleType
from typing import Literal

import numpy as np
import pretty_midi
from scipy.io import wavfile

from domains.music.roll import MAX_VELOCITY, Roll

Engine = Literal["fluidsynth", "additive"]

TAIL = 1.0  # seconds after the end, in which the last notes die away
LOUDNESS = 0.25  # peak of one note at full velocity, before limiting
CEILING = 0.95  # louder mixes are scaled down to this peak
PARTIALS = 10
STIFFNESS = 3e-4
ATTACK, RELEASE = 0.004, 0.12


def render(
    music: Roll | pretty_midi.PrettyMIDI,
    path: str | PathLike[str],
    rate: int = 44100,
    engine: Engine | None = None,
) -> Engine:
    """Write a 16-bit WAV file, a second longer than the music.

    Args:
        music: what to play; "additive" leaves drums out.
        path: file to write.
        rate: samples per second.
        engine: "fluidsynth" (which needs pyfluidsynth and the FluidSynth library, and plays the
            soundfont of pretty_midi) or "additive"; None is FluidSynth where it can be loaded.

    Returns:
        The engine that played.

    Raises:
        ValueError: if FluidSynth was asked for and cannot be loaded, or the rate is not positive.
    """
    if rate < 1:
        raise ValueError(f"render got a rate of {rate} samples per second; give 1 or more")
    if engine is None:
        engine = "additive" if _fluidsynth() is None else "fluidsynth"
    elif engine == "fluidsynth" and _fluidsynth() is None:
        raise ValueError(
            "FluidSynth cannot be loaded; install pyfluidsynth and the FluidSynth library, or use "
            "engine='additive'"
        )
    wave = (_sampled if engine == "fluidsynth" else synthesize)(music, rate)
    wavfile.write(path, rate, np.round(wave * np.iinfo(np.int16).max).astype(np.int16))
    return engine


def synthesize(music: Roll | pretty_midi.PrettyMIDI, rate: int = 44100) -> np.ndarray:
    """Return the waveform (samples,) float32 of the additive synthesiser."""
    wave = np.zeros(_samples(music, rate), np.float32)
    by_pitch: dict[int, list[pretty_midi.Note]] = {}
    for instrument in _midi(music).instruments:
        for note in instrument.notes:
            if not instrument.is_drum:
                by_pitch.setdefault(note.pitch, []).append(note)
    fade_in = np.linspace(0, 1, max(round(ATTACK * rate), 1), dtype=np.float32)
    fade_out = np.cos(np.linspace(0, np.pi / 2, round(RELEASE * rate), dtype=np.float32)) ** 2
    for pitch, notes in by_pitch.items():
        # One tone as long as the longest note serves all notes of its pitch.
        longest = max(note.end - note.start for note in notes)
        tone = _tone(pitch, round(longest * rate) + len(fade_in) + len(fade_out), rate)
        tone[: len(fade_in)] *= fade_in
        for note in notes:
            start, held = round(note.start * rate), round((note.end - note.start) * rate)
            gain = LOUDNESS * (note.velocity / MAX_VELOCITY) ** 1.5
            sound = gain * tone[: held + len(fade_out)]
            sound[held:] *= fade_out
            wave[start : start + len(sound)] += sound[: len(wave) - start]
    return _limit(wave)


def _tone(pitch: int, samples: int, rate: int) -> np.ndarray:
    """Return a note's partials, without attack and release."""
    time = np.arange(samples) / rate
    frequency = pretty_midi.note_number_to_hz(pitch)
    decay = 0.7 * 2 ** ((pitch - 60) / 16)
    tone = np.zeros(samples, np.float32)
    total = 0.0
    for k in range(1, PARTIALS + 1):
        partial = k * frequency * np.sqrt(1 + STIFFNESS * k**2)
        if partial > 0.45 * rate:
            break
        turns = (partial * time % 1).astype(np.float32)
        fading = (-decay * k**0.6 * time).astype(np.float32)
        tone += k**-1.3 * np.sin(2 * np.pi * turns) * np.exp(fading)
        total += k**-1.3
    return tone / max(total, 1.0)


def _sampled(music: Roll | pretty_midi.PrettyMIDI, rate: int) -> np.ndarray:
    """Return the waveform of FluidSynth, of the same length and loudness bounds."""
    wave = np.zeros(_samples(music, rate), np.float32)
    played = _midi(music).fluidsynth(fs=rate)[: len(wave)]
    wave[: len(played)] = played
    return _limit(wave)


def _samples(music: Roll | pretty_midi.PrettyMIDI, rate: int) -> int:
    if isinstance(music, Roll):
        seconds = music.columns * music.grid.seconds(music.tempo)
    else:
        seconds = music.get_end_time()
    return round((seconds + TAIL) * rate)


def _midi(music: Roll | pretty_midi.PrettyMIDI) -> pretty_midi.PrettyMIDI:
    return music.to_midi() if isinstance(music, Roll) else music


def _limit(wave: np.ndarray) -> np.ndarray:
    peak = float(np.abs(wave).max(initial=0))
    return wave * np.float32(CEILING / peak) if peak > CEILING else wave


def _fluidsynth() -> ModuleType | None:
    """Return the module where it and the library that it binds are installed."""
    try:
        import fluidsynth
    except (ImportError, AttributeError):  # the latter from bindings that lack their library
        return None
    return fluidsynth if hasattr(fluidsynth, "Synth") else None
