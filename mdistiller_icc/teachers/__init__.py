"""Trained teachers: where they are kept, how they are read and written."""
