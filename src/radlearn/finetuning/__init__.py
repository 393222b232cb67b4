"""Fine-tuning a backbone with few labels."""
