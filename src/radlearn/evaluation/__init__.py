"""What evaluation says of runs of each kind of task."""
