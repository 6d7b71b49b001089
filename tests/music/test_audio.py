"""Sound: pitches, times, loudness and lengths, read off the waveform."""

import numpy as np
import pretty_midi
import pytest
from scipy.io import wavfile

from domains.music import audio
from domains.music.roll import Grid, Notes, Roll

RATE = 22050
COLUMN = 0.125  # seconds: sixteenths at 120 bpm


def roll(*notes, columns=16):
    """A roll of notes (start, end, pitch, velocity)."""
    rows = np.array(notes, int).reshape(-1, 4)
    return Roll.from_notes(Notes(*rows.T), columns, Grid(), 120.0)


def loudest(wave, count=1):
    """The `count` strongest frequencies of a waveform, in Hz and rising."""
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    found = []
    for _ in range(count):
        peak = int(spectrum.argmax())
        found.append(peak * RATE / len(wave))
        spectrum[max(peak - 20, 0) : peak + 20] = 0
    return sorted(found)


@pytest.mark.parametrize("pitch", [33, 45, 60, 69, 84, 100])
def test_the_strongest_partial_is_the_pitch(pitch):
    wave = audio.synthesize(roll((0, 16, pitch, 100)), RATE)
    assert loudest(wave)[0] == pytest.approx(440 * 2 ** ((pitch - 69) / 12), rel=0.005)


def test_two_notes_sound_together():
    wave = audio.synthesize(roll((0, 16, 69, 100), (0, 16, 73, 100)), RATE)
    assert loudest(wave, 2) == pytest.approx([440, 440 * 2 ** (4 / 12)], rel=0.005)


@pytest.mark.parametrize("pitch", [84, 96, 100])
def test_no_partial_folds_back(pitch):
    rate = 8000
    wave = audio.synthesize(roll((0, 16, pitch, 100)), rate)
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    hertz = np.arange(len(spectrum)) * rate / len(wave)
    fundamental = 440 * 2 ** ((pitch - 69) / 12)
    assert spectrum[hertz < 0.9 * fundamental].sum() < 1e-4 * spectrum.sum() + 1e-12


def test_notes_start_stop_and_repeat_when_they_should():
    wave = audio.synthesize(roll((4, 6, 60, 100), (8, 10, 60, 100)), RATE)
    at = [round(column * COLUMN * RATE) for column in (4, 6, 8, 10)]
    gone = round(audio.RELEASE * RATE) + 200
    assert np.all(wave[: at[0]] == 0)
    assert np.abs(wave[at[0] : at[0] + 500]).max() > 0.05
    assert np.all(wave[at[1] + gone : at[2]] == 0)
    assert np.abs(wave[at[2] : at[2] + 500]).max() > 0.05
    assert np.all(wave[at[3] + gone :] == 0)
    assert np.abs(np.diff(wave)).max() < 0.05  # no clicks


def test_a_note_dies_away_and_velocity_makes_it_louder():
    loud, soft = (audio.synthesize(roll((0, 16, 60, v)), RATE) for v in (120, 30))
    assert np.abs(soft).max() / np.abs(loud).max() == pytest.approx(0.25**1.5, rel=1e-3)
    assert np.abs(loud[RATE : RATE + 2000]).max() < 0.6 * np.abs(loud[:2000]).max()


def test_the_file_is_as_long_as_the_roll_and_its_tail(tmp_path):
    path = tmp_path / "a.wav"
    assert audio.render(roll((0, 4, 60, 90)), path, RATE, engine="additive") == "additive"
    rate, wave = wavfile.read(path)
    assert (rate, wave.dtype, wave.shape) == (
        RATE,
        np.int16,
        (round((16 * COLUMN + audio.TAIL) * RATE),),
    )
    assert np.abs(wave).max() > 1000


def test_the_loudest_roll_does_not_clip(tmp_path):
    notes = [(0, 8, pitch, 127) for pitch in range(21, 109)]
    audio.render(roll(*notes), tmp_path / "a.wav", RATE, engine="additive")
    _, wave = wavfile.read(tmp_path / "a.wav")
    assert np.abs(wave.astype(int)).max() == pytest.approx(audio.CEILING * 32767, abs=2)


def test_silence_is_silent(tmp_path):
    audio.render(roll(), tmp_path / "a.wav", RATE)
    _, wave = wavfile.read(tmp_path / "a.wav")
    assert len(wave) == round((16 * COLUMN + audio.TAIL) * RATE)
    assert not wave.any()


def test_a_midi_object_sounds_like_its_roll_and_drums_are_left_out():
    source = roll((0, 4, 60, 90), (4, 16, 64, 50))
    midi = source.to_midi()
    drums = pretty_midi.Instrument(0, is_drum=True)
    drums.notes.append(pretty_midi.Note(100, 40, 0.0, 1.0))
    midi.instruments.append(drums)
    np.testing.assert_array_equal(audio.synthesize(midi, RATE), audio.synthesize(source, RATE))


def test_refusals(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "_fluidsynth", lambda: None)
    assert audio.render(roll(), tmp_path / "a.wav", RATE) == "additive"
    with pytest.raises(ValueError, match="install pyfluidsynth"):
        audio.render(roll(), tmp_path / "a.wav", engine="fluidsynth")
    with pytest.raises(ValueError, match="rate of 0"):
        audio.render(roll(), tmp_path / "a.wav", rate=0)


def test_fluidsynth_where_it_is_installed(tmp_path):
    if audio._fluidsynth() is None:
        pytest.skip("needs pyfluidsynth and the FluidSynth library")
    assert audio.render(roll((0, 16, 69, 100)), tmp_path / "a.wav", RATE) == "fluidsynth"
    _, wave = wavfile.read(tmp_path / "a.wav")
    assert len(wave) == round((16 * COLUMN + audio.TAIL) * RATE)
    assert loudest(wave / 32767)[0] == pytest.approx(440, rel=0.01)
