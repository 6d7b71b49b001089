"""Keys, chords and scale degrees of piano rolls."""
