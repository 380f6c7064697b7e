"""What pictures with parts removed or changed do to the answers, and whether a map is true."""
