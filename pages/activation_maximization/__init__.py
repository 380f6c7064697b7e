"""Pictures that excite a class or a channel as much as possible, for every model."""
