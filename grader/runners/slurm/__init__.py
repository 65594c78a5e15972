"""Grades on a Slurm cluster: array jobs examine, this machine writes the book; files and JSON travel, no pickle."""
