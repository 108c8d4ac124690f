"""What needs a trained model: predict, deploy, export."""
