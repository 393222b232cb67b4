"""The page that a run leaves: one HTML file, looked at rather than read, without network access."""
