"""The engine: units of training as pure functions, who runs them, and who decides what is next."""
