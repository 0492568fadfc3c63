"""What is measured: model, data, machine."""
