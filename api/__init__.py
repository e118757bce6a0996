"""HTTP: endpoints, schemas, problem details. Never imports torch or numba."""
