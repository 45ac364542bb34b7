"""What a method is asked: one file per method, without torch."""
