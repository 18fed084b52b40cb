"""The event store on KurrentDB (or EventStoreDB): the log of a cluster."""
