"""Every kind of change that a LoRA file can hold, each as a class that says what it fits and what it does."""
