"""Training and distillation (needs the ``train`` extra)."""
