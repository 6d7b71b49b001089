"""Corpora of piano rolls: POP909, Bach chorales, and any folder of MIDI files."""
