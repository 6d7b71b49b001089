"""Names of pitches, scales and keys, as users type them.

Pitch class 0 is C. MIDI note 60 is C4, the middle C; the piano has 21 (A0) to 108 (C8).
"""

import re

from domains.music.roll import LOWEST, PITCHES

PITCH_CLASSES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
SCALES = {  # semitones above the tonic; melodic minor is the ascending one
    "major": MAJOR,
    "minor": MINOR,
    "natural minor": MINOR,
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "melodic minor": (0, 2, 3, 5, 7, 9, 11),
    "ionian": MAJOR,
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "aeolian": MINOR,
    "locrian": (0, 1, 3, 5, 6, 8, 10),
    "major pentatonic": (0, 2, 4, 7, 9),
    "minor pentatonic": (0, 3, 5, 7, 10),
    "blues": (0, 3, 5, 6, 7, 10),
}


def pitch_class(text: str) -> int:
    """Return the pitch class 0..11 of a name such as "C", "F#" or "Bb".

    Raises:
        ValueError: if it is none.
    """
    match = re.fullmatch(r"([A-Ga-g])([#b]?)", text.strip())
    if match is None:
        raise ValueError(f"{text.strip()!r} is no pitch class; give C, C#, Db, D, ... or B")
    letter, accidental = match.groups()
    return (LETTERS[letter.upper()] + {"": 0, "#": 1, "b": -1}[accidental]) % 12


def midi_note(text: str) -> int:
    """Return the MIDI number of a piano key, typed as "C4" or as "60".

    Raises:
        ValueError: if it is none, or not on the piano.
    """
    match = re.fullmatch(r"([A-Ga-g][#b]?)(\d)|(\d+)", text.strip())
    if match is None:
        raise ValueError(f"{text.strip()!r} is no piano key; give a name such as C4, or 21 to 108")
    name, octave, number = match.groups()
    if number is not None:
        note = int(number)
    else:
        accidental = {"#": 1, "b": -1}.get(name[1:], 0)
        note = 12 * (int(octave) + 1) + LETTERS[name[0].upper()] + accidental
    if not LOWEST <= note < LOWEST + PITCHES:
        raise ValueError(f"{text.strip()!r} is not on the piano; give A0 (21) to C8 (108)")
    return note


def note_name(note: int) -> str:
    """Return the name of a MIDI number, "C4" for 60."""
    return f"{PITCH_CLASSES[note % 12]}{note // 12 - 1}"


def scale(text: str) -> tuple[int, str]:
    """Return the tonic's pitch class and the scale's name of text such as "A harmonic minor".

    Raises:
        ValueError: if the scale is unknown.
    """
    tonic, _, name = text.strip().partition(" ")
    name = " ".join(name.lower().split())
    if name not in SCALES:
        raise ValueError(
            f"{text.strip()!r} is no key; give a tonic and one of {', '.join(SCALES)}, "
            "such as 'A minor'"
        )
    return pitch_class(tonic), name


def key_index(text: str) -> int:
    """Return a key as a number: 0..11 C to B major, 12..23 C to B minor.

    Raises:
        ValueError: if the text is no major or minor key.
    """
    tonic, name = scale(text)
    if name not in ("major", "minor"):
        raise ValueError(f"{text.strip()!r} is neither major nor minor; give one such as 'A minor'")
    return tonic + 12 * (name == "minor")


def key_name(index: int) -> str:
    """Return the name of a key number, "A minor" for 21."""
    return f"{PITCH_CLASSES[index % 12]} {'minor' if index >= 12 else 'major'}"
