"""A log as one file: written from any backend, verified while it is read, and taken over by any backend."""
