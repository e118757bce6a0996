"""The page at `/`: static files that speak the public API and nothing else."""
