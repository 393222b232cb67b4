"""The HTML page that every run leaves."""
