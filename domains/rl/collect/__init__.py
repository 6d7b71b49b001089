"""Data sets made here: behaviours, their mixtures, and the recorder that writes Minari files."""
