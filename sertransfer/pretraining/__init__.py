"""Stage 1: training and scoring a speech emotion recogniser."""
