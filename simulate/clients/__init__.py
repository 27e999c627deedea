"""What happens at one virtual client: batches, local training, predictions."""
