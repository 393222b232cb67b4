"""What work costs on this machine, beside its plain form and the machine's own limits."""
