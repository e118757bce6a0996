"""The words and the rules of the service: pydantic and the standard library only."""
