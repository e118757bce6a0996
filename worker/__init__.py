"""Celery: claims jobs, runs the science, saves the results."""
