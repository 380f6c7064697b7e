"""One file a step; what is released is never changed, a further step is added."""
