"""Landmarks: what objects of a category can look like, in words."""

from cmah.landmarks.generating import (
    Coverage,
    Generated,
    ask_endpoint,
    landmark_coverage,
    prompts,
    take_answers,
)
from cmah.landmarks.landmark_file import (
    Landmarks,
    known_landmarks,
    landmarks_of,
    normal_name,
    printable,
    read_landmarks,
    write_landmarks,
)
from cmah.landmarks.landmark_prompts import FORBIDDEN, ask_for, clean, parse_answer, prompt

__all__ = [
    "FORBIDDEN",
    "Coverage",
    "Generated",
    "Landmarks",
    "ask_endpoint",
    "ask_for",
    "clean",
    "known_landmarks",
    "landmark_coverage",
    "landmarks_of",
    "normal_name",
    "parse_answer",
    "printable",
    "prompt",
    "prompts",
    "read_landmarks",
    "take_answers",
    "write_landmarks",
]
