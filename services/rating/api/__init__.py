"""The gRPC edge of rating: requests parsed into values, commands run, values turned into responses."""
