"""Tests of the running application: pages, server, browser."""
