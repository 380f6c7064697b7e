"""Answers for pictures with removed or changed parts, and the faithfulness of maps."""
