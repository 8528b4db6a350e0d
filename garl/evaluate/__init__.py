"""How good the paintings are: fixed metrics on the features of a shipped judge."""
