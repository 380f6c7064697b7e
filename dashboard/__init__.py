"""The application's frame."""
