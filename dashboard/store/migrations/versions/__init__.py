"""One file per step; released steps are never changed, only new ones added."""
