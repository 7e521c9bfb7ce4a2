"""Landmarks: what objects of a category can look like, in words."""

from cmah.landmarks.landmark_file import (
    FORBIDDEN,
    Landmarks,
    ask_for,
    clean,
    known_landmarks,
    landmarks_of,
    normal_name,
    parse_answer,
    printable,
    prompt,
    read_landmarks,
    write_landmarks,
)

__all__ = [
    "FORBIDDEN",
    "Landmarks",
    "ask_for",
    "clean",
    "known_landmarks",
    "landmarks_of",
    "normal_name",
    "parse_answer",
    "printable",
    "prompt",
    "read_landmarks",
    "write_landmarks",
]
